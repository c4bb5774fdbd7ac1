"""The record of a finished stage, ``stages/STAGE.json`` in a run directory.

The file also holds a checksum of the record, which the run writes and checks.
"""

from pydantic import Field

from morex.artifacts.gate_usage import GateUsage
from morex.artifacts.provenance import Provenance
from morex.artifacts.schema import InsidePath, Schema


class Epoch(Schema):
    """One epoch of a training.

    Attributes:
        epoch: its number, from 1.
        loss: mean loss over the epoch, in nats.
        learning_rate: that of its last step.
        validation: accuracy under each member of the objective; empty if it was not validated.
        score: mean of ``validation``.
        single_step: the same accuracies under the searches of the training, if one of them takes a
            single step and is therefore validated with PGD.
    """

    epoch: int
    loss: float
    learning_rate: float
    validation: tuple[float, ...] = ()
    score: float | None = None
    single_step: tuple[float, ...] = ()


class Passes(Schema):
    """Images sent forward and backward through single networks."""

    forward: int
    backward: int


class StageRecord(Schema):
    """What is known of a finished stage.

    Attributes:
        stage: id of the stage.
        key: hash of everything that decides its result.
        files: SHA-256 of each file that it wrote, by path relative to the run.
        validation: best score of a training; None if it was never validated.
        passes: cost of a training; None for a model that is only put together.
        history: epochs of a training.
        reads: what the models that it read compute with their weights, as a checksum by stage;
            empty in records of older versions. Weights do not tell a mean from a maximum.
        rows: of an evaluation, by row, a hash of everything that decides its outcomes.
        answers: of an evaluation, how many clean test images are predicted to be of each class.
        gate: of the evaluation of a mixture, how its gate spreads the weight.
        seconds: time it took.
        peak_memory_bytes: largest resident memory of the process.
        peak_gpu_memory_bytes: largest memory allocated on a GPU, if one was used.
        finished: when it ended (ISO 8601, UTC).
        provenance: the process that did it.
    """

    stage: str
    key: str
    files: dict[InsidePath, str]
    validation: float | None = None
    passes: Passes | None = None
    history: tuple[Epoch, ...] = ()
    reads: dict[str, str] = Field(default_factory=dict)
    rows: dict[str, str] = Field(default_factory=dict)
    answers: tuple[int, ...] = ()
    gate: GateUsage | None = None
    seconds: float
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    finished: str
    provenance: Provenance

    @property
    def training_seconds(self) -> float:
        """Time that it took to train a network; 0 for any other stage."""
        return self.seconds if self.passes else 0.0
