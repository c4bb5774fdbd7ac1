"""What a training reports: its progress, its history, and a failure."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a training is; ``loss`` is NaN before the first step."""

    step: int
    epoch: float
    epochs: float
    loss: float
    seconds: float
    validation: float | None


@dataclass(frozen=True)
class Fit:
    """The history of a finished training.

    ``history`` has one entry per epoch: ``epoch``, ``loss`` (mean) and ``learning_rate``; epochs
    that were validated also have ``validation`` (accuracy under each member of the objective) and
    ``score`` (their mean), and ``single_step`` (accuracy under the single step) if the training
    takes one and is validated with PGD. ``seconds`` is the time from the first step on, including
    the time before interruptions, but not the loading of data and libraries.
    """

    history: list[dict[str, Any]]
    seconds: float


class NotFiniteError(RuntimeError):
    """A loss or a weight became infinite or NaN."""
