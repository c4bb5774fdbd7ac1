"""Everything in a run directory that the report page shows, read once.

Missing files are left out; damaged files are left out with a note. Only ``results.json`` and the
outcomes must be readable.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from morex.artifacts.class_words import class_name, word_of
from morex.artifacts.findings import Audit
from morex.artifacts.gate_usage import GateUsage
from morex.artifacts.illustration import Illustration
from morex.artifacts.labels import FILE as TEST_IMAGES
from morex.artifacts.labels import TestImages
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.records import Epoch, StageRecord
from morex.artifacts.results import ResultsFile
from morex.artifacts.schema import Schema, problems
from morex.core.files import read_file
from morex.report.results import RunResults, read_results
from morex.report.table import Table, make_table
from morex.report.weights import are_stale, weights_now

T = TypeVar("T")
Content = TypeVar("Content", bound=Schema)


@dataclass(frozen=True)
class Training:
    """A finished training: id of the stage, model, perturbations trained against, and epochs."""

    stage: str
    model: str
    warms_up: bool
    against: tuple[str, ...]
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class Material:
    """The content of a run directory.

    Attributes:
        run: the directory.
        results: results and outcomes.
        table: Table 1 of the run.
        suites: tables of the further suites, by name.
        trainings: all trainings, in the order of the run.
        illustrations: illustrations by model.
        classes: names of the classes; empty if they are unknown.
        labels: true classes of the test images, in their order.
        index: their indices in the data set; empty if they are unknown.
        audits: by model, or by name of the file if it belongs to no column.
        recipe: the recipe as YAML.
        notes: the files that could not be read, and why.
    """

    run: Path
    results: RunResults
    table: Table
    suites: Mapping[str, Table]
    trainings: tuple[Training, ...]
    illustrations: Mapping[str, Illustration]
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    index: tuple[int, ...]
    audits: Mapping[str, Audit]
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
    def gates(self) -> dict[str, GateUsage]:
        """The gates that were measured, by mixture, in the order of the table."""
        entries = ((name, self.file.columns.get(name)) for name in self.table.columns)
        measured = ((name, entry.gate) for name, entry in entries if entry)
        return {name: gate for name, gate in measured if gate and gate.weights}

    @property
    def lead(self) -> str | None:
        """The model that the page is about: the last mixture, otherwise that with the best mean.

        A collapsed model is chosen only if there is no other.
        """
        means = zip(self.table.mean, self.table.columns, strict=True)
        known = [name for _, name in sorted((m, name) for m, name in means if m is not None)]
        order = [*known, *self.gates]  # the best one last
        sound = [name for name in order if name not in self.table.collapsed]
        return next(reversed(sound or order), None)

    def class_name(self, label: int) -> str:
        """Return the name of a class, its number if it has none, or ``not finite``."""
        return class_name(self.classes, label)


def read_material(run: Path | str) -> Material:
    """Read a run directory.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results file yet.
        ValueError: if the results or the outcomes are damaged.
    """
    run = Path(run)
    results = read_results(run, unfinished=True)
    notes: list[str] = []
    images = _kept(partial(_parsed, run / TEST_IMAGES, TestImages), notes) or TestImages()
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
        classes=tuple(map(word_of, images.classes)),
        labels=images.labels,
        index=images.index,
        audits=_audits(run, results.file, notes),
        recipe=_kept(partial((run / "recipe.yaml").read_text, encoding="utf-8"), notes) or "",
        notes=notes,
    )


def _kept(read: Callable[[], T], notes: list[str]) -> T | None:
    """Return what ``read`` returns; None if the file is missing or, with a note, damaged."""
    try:
        return read()
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        notes.append(str(error).splitlines()[0])
        return None


def _parsed(path: Path, form: type[Content]) -> Content:
    """Read a JSON file that fits a schema."""
    try:
        return form.model_validate_json(read_file(path))
    except ValidationError as error:
        raise ValueError(f"{path} does not fit its format: {problems(error)}") from None


def _suites(run: Path, notes: list[str]) -> dict[str, Table]:
    """Return the tables of the further suites under which a model is evaluated."""
    names = (path.stem.removeprefix("results-") for path in sorted(run.glob("results-*.json")))
    tables = {}
    for name in names:
        found = _kept(partial(read_results, run, name, unfinished=True), notes)
        if found and found.file.columns:
            tables[name] = make_table(found)
    return tables


def _trainings(run: Path, file: ResultsFile, notes: list[str]) -> tuple[Training, ...]:
    """Return the trainings whose records can be read."""
    found = []
    for stage, about in file.stages.items():
        if about.kind in ("gate", "train"):
            path = run / "stages" / f"{stage}.json"
            record = _kept(partial(_parsed, path, StageRecord), notes)
            if record and record.history:
                gate = about.kind == "gate"
                found.append(Training(stage, about.model, gate, about.against, record.history))
    return tuple(found)


def _audits(run: Path, file: ResultsFile, notes: list[str]) -> dict[str, Audit]:
    """Return findings by model in the order of the columns, then those of other files by name.

    An audit of weights that the run no longer has is left out with a note.
    """
    names = {Path(column.outcomes).stem: name for name, column in file.columns.items()}
    files = {path.stem: path for path in sorted((run / "audits").glob("*.json"))}
    found: dict[str, Audit] = {}
    for stem in sorted(files, key=[*names, *files].index):
        if audit := _kept(partial(_parsed, files[stem], Audit), notes):
            if are_stale(audit.weights, weights_now(run, stem)):
                notes.append(f"{files[stem]} is about other weights: run morex audit again")
            else:
                found[names.get(stem, stem)] = audit
    return found
