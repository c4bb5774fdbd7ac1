"""What a run directory holds for reports: ``results.json`` and one outcomes file per model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from morex.artifacts.outcomes import Outcomes

FORMAT = 1
RESULTS = "results.json"


class RowEntry(BaseModel):
    """One attack of the suite: its printable form, and its perturbation with kind and strength."""

    model_config = ConfigDict(frozen=True)

    attack: str = ""
    perturbation: dict[str, Any]


class Cost(BaseModel):
    """What a training took: images sent forward and backward through single networks, seconds."""

    model_config = ConfigDict(frozen=True)

    forward: int
    backward: int
    seconds: float


class Gate(BaseModel):
    """How a mixture spreads its weight: by row, the mean weight of every expert.

    ``leads`` has the share of the ``n`` images on which an expert has the largest weight,
    ``entropy`` the mean entropy of the weights in bits, where it was measured.
    """

    model_config = ConfigDict(frozen=True)

    experts: tuple[str, ...]
    weights: dict[str, tuple[float, ...]]
    leads: dict[str, tuple[float, ...]]
    entropy: dict[str, float] = {}
    n: int


class ColumnEntry(BaseModel):
    """One evaluated model: where its outcomes are, relative to the run, and what it cost.

    ``seconds`` is the time of the evaluation; ``training_with_parents`` adds the training of all
    models that it is made of or started from. ``gate`` is known of mixtures.
    """

    model_config = ConfigDict(frozen=True)

    outcomes: str
    seconds: float | None = None
    trained_on: str = ""
    training: Cost | None = None
    training_with_parents: Cost | None = None
    gate: Gate | None = None


class ResultsFile(BaseModel):
    """The content of ``results.json``.

    ``perturbations`` has kind and strength of all that the recipe names, ``missing`` the models
    that are not evaluated yet, ``illustrations`` where the files are that show what a model does on
    some images, relative to the run.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    seed: int
    setting: dict[str, Any]
    rows: dict[str, RowEntry] = Field(min_length=1)
    perturbations: dict[str, dict[str, Any]] = {}
    columns: dict[str, ColumnEntry]
    illustrations: dict[str, str] = {}
    missing: tuple[str, ...] = ()
    stages: dict[str, Any] = {}
    provenance: dict[str, Any] = {}

    @field_validator("rows")
    @classmethod
    def _not_reserved(cls, rows: dict[str, RowEntry]) -> dict[str, RowEntry]:
        if reserved := rows.keys() & {"union", "mean"}:
            raise ValueError(f"{', '.join(sorted(reserved))}: reserved for the computed rows")
        return rows


@dataclass(frozen=True)
class RunResults:
    """A run's results file together with the outcomes of every evaluated model."""

    file: ResultsFile
    outcomes: Mapping[str, Outcomes]


def read_results(run: Path | str, suite: str = "", *, unfinished: bool = False) -> RunResults:
    """Read the results of the run directory ``run``, or those of one of its further suites.

    Args:
        run: the run directory.
        suite: the name of a further suite; empty for the table's.
        unfinished: whether a run in which no model is evaluated yet will do.

    Raises:
        FileNotFoundError: if there is no such run, it has no results yet, or a file is missing.
        ValueError: if a file is damaged, of an unknown format, or does not fit the others.
    """
    run = Path(run)
    file = _read_file(run, f"results-{suite}.json" if suite else RESULTS)
    if not file.columns and not unfinished:
        raise _nothing_yet(run)
    outcomes = {
        name: _read_outcomes(run / column.outcomes, name, file)
        for name, column in file.columns.items()
    }
    return RunResults(file, outcomes)


def _read_file(run: Path, name: str) -> ResultsFile:
    path = run / name
    if not run.is_dir():
        raise FileNotFoundError(
            f"no run directory {str(run)!r}; make one with: morex run RECIPE --out {run}"
        )
    if not path.is_file():
        raise _nothing_yet(run)
    try:
        content = json.loads(path.read_bytes())
        _check_format(path, content)
        return ResultsFile.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path} does not fit format {FORMAT}: {problems(error)}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); run the same morex run command again to rewrite it"
        ) from None


def _nothing_yet(run: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"the run {str(run)!r} has no results yet: no model is evaluated; go on with the "
        "morex run command that began it"
    )


def _check_format(path: Path, content: Any) -> None:
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path} has format {found!r}, this version of morex reads {FORMAT}; "
            "use the version of morex that made the run, or run it again"
        )


def problems(error: ValidationError) -> str:
    """Say what does not fit, and where."""
    places = (".".join(map(str, e["loc"])) or "it" for e in error.errors())
    return "; ".join(
        f"{place}: {e['msg']}" for place, e in zip(places, error.errors(), strict=True)
    )


def _read_outcomes(path: Path, column: str, file: ResultsFile) -> Outcomes:
    try:
        outcomes = Outcomes.load(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}, the outcomes of {column!r}, is missing; run the same morex run command again "
            "to evaluate that model"
        ) from None
    if unknown := [row for row in outcomes.rows if row not in file.rows]:
        raise ValueError(
            f"{path} holds rows that {RESULTS} does not list ({', '.join(unknown)}); delete it and "
            "run the same morex run command again"
        )
    return outcomes
