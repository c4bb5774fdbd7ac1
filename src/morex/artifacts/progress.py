"""How far a run in progress is: ``work/progress.json``, which goes when the run is complete.

Whoever watches a run reads this file. Times are in seconds since 1970, by the clock of the machine
that runs.
"""

from typing import Literal

from morex.artifacts.schema import Schema

FILE = "work/progress.json"
"""Its name in a run directory."""

State = Literal["waiting", "running", "done"]
"""Where a stage is."""


class Point(Schema):
    """A measurement of a training: at which share of it, its loss, and its last validation."""

    share: float
    loss: float | None = None
    validation: float | None = None


class StageProgress(Schema):
    """How far a stage is.

    Attributes:
        kind: ``gate``, ``train``, ``evaluate`` or ``illustrate``.
        model: name of the model.
        suite: which suite an evaluation attacks with; empty for that of the table.
        work: an upper bound of its work, in forward passes of one network.
        state: whether it waits, runs or is done.
        share: how much of it is done, in [0, 1].
        first: how much of it was done when it started: more than 0 if it was resumed.
        text: where it is, in words.
        started: when it started; None unless it runs.
        seconds: how long it took; None unless this run has done it.
        points: measurements of a training that runs, the first one first.
    """

    kind: str
    model: str
    suite: str = ""
    work: float = 0.0
    state: State = "waiting"
    share: float = 0.0
    first: float | None = None
    text: str = ""
    started: float | None = None
    seconds: float | None = None
    points: tuple[Point, ...] = ()

    @property
    def title(self) -> str:
        """What the stage does, such as ``train MAX``."""
        verb = {"gate": "warm up gate of"}.get(self.kind, self.kind)
        return f"{verb} {self.model}" + (f" ({self.suite})" if self.suite else "")


class RunProgress(Schema):
    """The content of the file.

    Attributes:
        format: version of the format.
        name: name of the recipe.
        host: the machine that runs.
        pid: the process that runs, on that machine.
        started: when the run started, or was resumed.
        updated: when the file was written.
        stages: all stages of the run, by id, in their order.
    """

    format: Literal[1]
    name: str
    host: str
    pid: int
    started: float
    updated: float
    stages: dict[str, StageProgress]
