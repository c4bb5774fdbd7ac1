"""Everything that a run directory holds for its report page, read once; torch is not needed.

What is not there yet, or damaged, is left out, and said: only ``results.json`` must be readable.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from morex.illustrations import Illustration
from morex.outcomes import Outcomes
from morex.report.results import Gate, ResultsFile, RunResults, read_results
from morex.report.table import Table, make_table

T = TypeVar("T")


class Epoch(BaseModel):
    """One epoch of a training; ``validation`` has an accuracy per member of the objective."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    loss: float
    learning_rate: float
    validation: tuple[float, ...] = ()
    score: float | None = None


@dataclass(frozen=True)
class Training:
    """A finished training: the stage's id, its model, what it trained against, and its epochs."""

    stage: str
    model: str
    warms_up: bool
    against: tuple[str, ...]
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class Material:
    """A run, read.

    Attributes:
        run: its directory.
        results: the results and outcomes.
        table: its Table 1.
        suites: tables of further suites, by name.
        trainings: in the order of the run.
        illustrations: by model.
        classes: names of the classes; empty if they are unknown.
        labels: true classes of the test images, in their order.
        audits: contents of the files in ``audits``, by name of the model.
        recipe: the recipe as YAML.
        notes: what could not be read.
    """

    run: Path
    results: RunResults
    table: Table
    suites: Mapping[str, Table]
    trainings: tuple[Training, ...]
    illustrations: Mapping[str, Illustration]
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    audits: Mapping[str, Mapping[str, Any]]
    recipe: str
    notes: list[str] = field(default_factory=list)

    @property
    def file(self) -> ResultsFile:
        """The content of ``results.json``."""
        return self.results.file

    @property
    def outcomes(self) -> Mapping[str, Outcomes]:
        """The outcomes of every evaluated model."""
        return self.results.outcomes

    @property
    def gates(self) -> dict[str, Gate]:
        """What is known of the gates, by mixture, in the order of the table."""
        entries = ((name, self.file.columns.get(name)) for name in self.table.columns)
        return {name: entry.gate for name, entry in entries if entry and entry.gate}

    @property
    def lead(self) -> str | None:
        """The model that the page is about: the last mixture, else the one with the best mean."""
        if self.gates:
            return next(reversed(self.gates))
        means = zip(self.table.mean, self.table.columns, strict=True)
        known = [(mean, name) for mean, name in means if mean is not None]
        return max(known)[1] if known else None

    def class_name(self, label: int) -> str:
        """Return the name of a class, or its number."""
        return self.classes[label] if label < len(self.classes) else str(label)


def read_material(run: Path | str) -> Material:
    """Read a run directory.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results file yet.
        ValueError: if the results or the outcomes are damaged.
    """
    run = Path(run)
    results = read_results(run, unfinished=True)
    notes: list[str] = []
    labels = _kept(partial(_json, run / "test-labels.json"), notes) or {}
    return Material(
        run=run,
        results=results,
        table=make_table(results),
        suites=_suites(run, notes),
        trainings=_trainings(run, results.file, notes),
        illustrations={
            name: found
            for name, path in results.file.illustrations.items()
            if (found := _kept(partial(Illustration.load, run / path), notes))
        },
        classes=tuple(labels.get("classes", ())),
        labels=tuple(labels.get("labels", ())),
        audits=_audits(run, notes),
        recipe=_kept(partial((run / "recipe.yaml").read_text, encoding="utf-8"), notes) or "",
        notes=notes,
    )


def _kept(read: Callable[[], T], notes: list[str]) -> T | None:
    """Return what is read, or None, with a note unless the file is simply not there."""
    try:
        return read()
    except FileNotFoundError:
        return None
    except (ValueError, OSError, KeyError) as error:
        notes.append(str(error).splitlines()[0])
        return None


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}) and left out") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not hold an object and is left out")
    return content


def _suites(run: Path, notes: list[str]) -> dict[str, Table]:
    """Return the tables of further suites, those that have a column at least."""
    names = (path.stem.removeprefix("results-") for path in sorted(run.glob("results-*.json")))
    tables = {}
    for name in names:
        found = _kept(partial(read_results, run, name, unfinished=True), notes)
        if found and found.file.columns:
            tables[name] = make_table(found)
    return tables


def _trainings(run: Path, file: ResultsFile, notes: list[str]) -> tuple[Training, ...]:
    """Return the trainings whose records are there."""
    found = []
    for stage, about in file.stages.items():
        if isinstance(about, dict) and about.get("kind") in ("gate", "train"):
            path = run / "stages" / f"{stage}.json"
            epochs = _kept(partial(_epochs, path), notes)
            if epochs:
                against = tuple(about.get("against", ()))
                gate = about["kind"] == "gate"
                found.append(Training(stage, str(about["model"]), gate, against, epochs))
    return tuple(found)


def _epochs(path: Path) -> tuple[Epoch, ...]:
    try:
        return tuple(Epoch.model_validate(entry) for entry in _json(path).get("history", ()))
    except ValidationError as error:
        raise ValueError(f"{path} holds no history that can be shown ({error})") from None


def _audits(run: Path, notes: list[str]) -> dict[str, Mapping[str, Any]]:
    files = sorted((run / "audits").glob("*.json"))
    read = {path.stem: _kept(partial(_json, path), notes) for path in files}
    return {name: content for name, content in read.items() if content and "findings" in content}
