"""What a training reports: while it runs, when it is over, and when it fails."""

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
    """The course of a training that is over.

    ``history`` has one entry per epoch: ``epoch``, ``loss`` (mean) and ``learning_rate``; epochs
    that were validated also have ``validation`` (accuracy under each member of the objective) and
    ``score`` (their mean). ``seconds`` is the time from the first step on, summed over
    interruptions; it does not include loading data and libraries.
    """

    history: list[dict[str, Any]]
    seconds: float


class NotFiniteError(RuntimeError):
    """A loss or a weight became infinite or NaN."""
