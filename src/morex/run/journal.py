"""Writes how far a run is to a file, for those who watch it."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from morex.artifacts.progress import FILE, Point, RunProgress, StageProgress
from morex.core.files import write_atomically
from morex.run.events import (
    Event,
    Finished,
    Measured,
    Observer,
    Planned,
    Progressed,
    Skipped,
    Started,
)
from morex.run.stages import Stage

EVERY = 3.0
"""Seconds between two writes while nothing starts or ends."""

_MOST_POINTS = 100
"""Measurements that are kept of a training; of more, every second one is dropped."""


class Journal:
    """An observer that also writes the progress of a run to its directory.

    The file is rewritten when a stage starts or ends, and otherwise every ``EVERY`` seconds. A file
    that cannot be written does not stop the run.

    Args:
        name: of the recipe.
        root: the run directory.
        observer: gets every event afterwards.
        clock: returns the time.
    """

    def __init__(
        self, name: str, root: Path, observer: Observer, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = root / FILE
        self.observer, self.clock = observer, clock
        self.name, self.started, self.last = name, clock(), 0.0
        self.stages: dict[str, StageProgress] = {}

    def __call__(self, event: Event) -> None:
        """Note an event, and hand it on."""
        match event:
            case Planned(stages, work):
                self.stages = {stage.id: _waiting(stage, work[stage.id]) for stage in stages}
                self._write()
            case Skipped(stage):
                self._change(stage, state="done", share=1.0)
            case Started(stage):
                self._change(stage, state="running", started=self.clock())
                self._write()
            case Progressed(stage, share, text):
                first = self.stages[stage.id].first
                first = share if first is None else first
                self._change(stage, share=share, text=text, first=first)
                self._write_if_due()
            case Measured(stage, _, values):
                self._measure(stage, values.get("loss"), values.get("validation"))
            case Finished(stage, seconds, text):
                done = {"share": 1.0, "started": None, "points": ()}
                self._change(stage, state="done", seconds=seconds, text=text, **done)
                self._write()
            case _:
                pass
        self.observer(event)

    def remove(self) -> None:
        """Remove the file: the run is complete."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _change(self, stage: Stage, **changes: object) -> None:
        self.stages[stage.id] = self.stages[stage.id].model_copy(update=changes)

    def _measure(self, stage: Stage, loss: float | None, validation: float | None) -> None:
        if loss is None and validation is None:
            return
        now = self.stages[stage.id]
        points = (*now.points, Point(share=now.share, loss=loss, validation=validation))
        if len(points) > _MOST_POINTS:
            points = points[::2]
        self._change(stage, points=points)

    def _write_if_due(self) -> None:
        if self.clock() - self.last >= EVERY:
            self._write()

    def _write(self) -> None:
        self.last = self.clock()
        content = RunProgress(
            format=1,
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self.started,
            updated=self.last,
            stages=self.stages,
        )
        with suppress(OSError):  # such as a full disk, which the stages report
            self.path.parent.mkdir(exist_ok=True)
            write_atomically(self.path, content.model_dump_json(exclude_defaults=True).encode())


def _waiting(stage: Stage, work: float) -> StageProgress:
    return StageProgress(kind=stage.kind, model=stage.model, suite=stage.suite, work=work)
