"""The content of ``results.json``: what a run did, what it cost, and where the outcomes are.

A run rewrites the file after every stage. Each further suite has a separate file,
``results-SUITE.json``.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from morex.artifacts.gate_usage import GateUsage
from morex.artifacts.provenance import Provenance
from morex.artifacts.schema import InsidePath, Schema

FORMAT = 1
"""The version of the format that is written and read."""

CODE = "code"
"""The key of the version of a user's class, in the form of a perturbation."""

COMPUTED_ROWS = ("union", "mean")
"""Names of the rows that every table computes; no attack can have them."""


def results_name(suite: str = "") -> str:
    """Return the name of the file in a run directory; ``suite`` is empty for Table 1."""
    return f"results-{suite}.json" if suite else "results.json"


class Setting(Schema):
    """What the models were trained and tested on.

    Attributes:
        data: name of the data set.
        data_note: what was changed about it, in words.
        network: architecture of the experts.
        width: their number of channels after the first convolution.
        n_test: number of test images.
    """

    data: str = "unknown data"
    data_note: str = ""
    network: str = ""
    width: int | None = None
    n_test: int | None = None


def _described(perturbation: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(perturbation.get("kind"), str):
        raise ValueError("expected a perturbation with its kind")
    parts = perturbation.get("parts", [])
    if not isinstance(parts, list | tuple) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("parts: expected a list of perturbations")
    for part in parts:
        _described(part)
    return perturbation


Described = Annotated[dict[str, Any], AfterValidator(_described)]
"""A perturbation as recipes write it: its kind and its numbers, or its parts."""


class RowEntry(Schema):
    """One attack of the suite: its printable form, and its perturbation with kind and strength."""

    attack: str = ""
    perturbation: Described


class Cost(Schema):
    """The cost of a training: images sent forward and backward through single networks, seconds."""

    forward: int
    backward: int
    seconds: float


class ColumnEntry(Schema):
    """One evaluated model.

    Attributes:
        outcomes: file of its outcomes, relative to the run.
        weights: digest of the weights that were evaluated; empty in files of older versions.
        seconds: time of the evaluation.
        trained_on: objective and perturbations of its training; empty if it was not trained.
        training: cost of training the model alone.
        training_with_parents: the same plus the training of every model that it is made of or
            started from.
        answers: how many of the clean test images it predicts to be of each class. Older files
            lack it.
        gate: how its gate spreads the weight; None for models without a gate.
    """

    outcomes: InsidePath
    weights: str = ""
    seconds: float | None = None
    trained_on: str = ""
    training: Cost | None = None
    training_with_parents: Cost | None = None
    answers: tuple[int, ...] = ()
    gate: GateUsage | None = None


class StageEntry(Schema):
    """One finished stage.

    Attributes:
        kind: ``gate``, ``train``, ``evaluate`` or ``illustrate``.
        model: name of the model.
        against: names of the perturbations that the stage trains or trained against.
        saved: whether the stage copied a saved model, whose training is in no cost.
        peak_memory_bytes: largest resident memory of the process.
        peak_gpu_memory_bytes: largest memory allocated on a GPU, if one was used.
        seconds: time it took.
        finished: when it ended (ISO 8601, UTC).
        provenance: what made it.
    """

    kind: str
    model: str
    against: tuple[str, ...] = ()
    saved: bool = False
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    seconds: float = 0.0
    finished: str = ""
    provenance: Provenance = Provenance()


class ResultsFile(Schema):
    """The content of the file.

    Attributes:
        format: version of the format.
        name: name of the recipe, and of the suite if it is a further one.
        seed: seed of the run.
        setting: what the models were trained and tested on.
        rows: the attacks of the suite, by name.
        perturbations: kind and strength of each perturbation of the recipe, by name.
        columns: the models that are evaluated, by name.
        illustrations: files that show what a model does on a few images, relative to the run.
        missing: models that are not evaluated yet.
        stages: the stages that are finished, by id.
        provenance: the process that wrote the file.
    """

    format: int
    name: str
    seed: int
    setting: Setting
    rows: dict[str, RowEntry] = Field(min_length=1)
    perturbations: dict[str, Described] = Field(default_factory=dict)
    columns: dict[str, ColumnEntry]
    illustrations: dict[str, InsidePath] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    stages: dict[str, StageEntry] = Field(default_factory=dict)
    provenance: Provenance = Provenance()

    @field_validator("rows")
    @classmethod
    def _not_computed(cls, rows: dict[str, RowEntry]) -> dict[str, RowEntry]:
        if taken := sorted(rows.keys() & {*COMPUTED_ROWS}):
            raise ValueError(f"{', '.join(taken)}: reserved for the computed rows")
        return rows
