"""The events that a run passes to its observer while it is in progress. It prints nothing.

==============  ==========================================
``Loaded``      the data is read
``Planned``     the stages are known
``Skipped``     a stage was finished before
``Started``     a stage starts, or resumes
``Progressed``  a share of a stage is done
``Measured``    values such as the loss of a training
``Finished``    a stage is finished
``Noticed``     something that the user should know
==============  ==========================================

Workers also send ``PartProgressed``; observers get it as ``Progressed``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from morex.run.stages import Stage


@dataclass(frozen=True)
class Loaded:
    """The data is read; ``lines`` count the images of each class in each split."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """The stages of the run, in order.

    ``work`` is an upper bound of the work of each stage by its id, in forward passes of one
    network.
    """

    stages: tuple[Stage, ...]
    work: Mapping[str, float]


@dataclass(frozen=True)
class Skipped:
    """The stage is finished and up to date: it is not done again."""

    stage: Stage


@dataclass(frozen=True)
class Started:
    """The stage starts, or resumes where it was interrupted."""

    stage: Stage


@dataclass(frozen=True)
class Progressed:
    """``share`` of the stage is done, in [0, 1]; ``text`` describes where it is."""

    stage: Stage
    share: float
    text: str


@dataclass(frozen=True)
class PartProgressed:
    """``share`` of one of several parts of an evaluation is done.

    Observers get it as ``Progressed``, with the share of all parts together.
    """

    stage: Stage
    number: int
    of: int
    share: float


@dataclass(frozen=True)
class Measured:
    """The training has these ``values``, by name, after ``step`` updates."""

    stage: Stage
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Finished:
    """The stage is finished after ``seconds``; ``text`` sums up its result."""

    stage: Stage
    seconds: float
    text: str


@dataclass(frozen=True)
class Noticed:
    """Something that the user should know, such as a damaged file."""

    text: str


Event = (
    Loaded
    | Planned
    | Skipped
    | Started
    | Progressed
    | PartProgressed
    | Measured
    | Finished
    | Noticed
)
"""Anything that a run reports."""

Observer = Callable[[Event], None]
"""A function that receives the events of a run, in this process and one at a time."""


def ignore(event: Event) -> None:
    """Do nothing: the observer of a run that nobody watches."""
