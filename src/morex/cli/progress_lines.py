"""Progress of a run: live lines with the time left on a terminal, plain lines otherwise."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from morex.run import Stage, Watcher


@contextmanager
def live_watcher(console: Console) -> Iterator[Watcher]:
    """Give a watcher that prints to ``console`` for the length of a block."""
    if not console.is_terminal:
        yield PlainLines(console)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}", style="dim"),
        console=console,
        transient=True,
    ) as progress:
        yield LiveLines(console, progress)


class PlainLines:
    """Prints a line for every finished stage."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = self.number = 0

    def begins(self, stages: list[Stage], work: dict[str, float]) -> None:
        """Remember how many stages there are."""
        self.total = len(stages)

    def skips(self, stage: Stage) -> None:
        """Print the line of a stage that was done before."""
        self._line(stage, "done before")

    def starts(self, stage: Stage) -> None:
        """Say nothing."""

    def progress(self, stage: Stage, share: float, text: str) -> None:
        """Say nothing."""

    def measures(self, stage: Stage, step: int, values: Mapping[str, float]) -> None:
        """Say nothing."""

    def ends(self, stage: Stage, seconds: float, text: str) -> None:
        """Print the stage's line."""
        self._line(stage, f"{seconds:7.1f} s  {text}")

    def notice(self, text: str) -> None:
        """Print a warning."""
        self.console.print(f"note: {text}", style="yellow", highlight=False, markup=False)

    def _line(self, stage: Stage, text: str) -> None:
        self.number += 1
        line = f"[{self.number}/{self.total}] {_doing(stage):<28} {text}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class LiveLines(PlainLines):
    """Also shows a bar for every stage in progress, and one with the time left for all."""

    def __init__(self, console: Console, bars: Progress) -> None:
        super().__init__(console)
        self.bars = bars
        self.clock = Clock()
        self.overall = bars.add_task("all stages", total=1.0, text="")
        self.tasks: dict[str, TaskID] = {}

    def begins(self, stages: list[Stage], work: dict[str, float]) -> None:
        """Remember how much there is to do."""
        super().begins(stages, work)
        self.clock.begin({s.id: (s.kind, work[s.id]) for s in stages})
        self.bars.update(self.overall, total=float(len(stages)))

    def skips(self, stage: Stage) -> None:
        """Take the stage off."""
        super().skips(stage)
        self.clock.skip(stage.id)
        self._update()

    def starts(self, stage: Stage) -> None:
        """Show a bar for the stage."""
        self.clock.start(stage.id)
        self.tasks[stage.id] = self.bars.add_task(escape(_doing(stage)), total=1.0, text="")

    def progress(self, stage: Stage, share: float, text: str) -> None:
        """Move the bar."""
        self.clock.move(stage.id, share)
        self.bars.update(self.tasks[stage.id], completed=share, text=text)
        self._update()

    def ends(self, stage: Stage, seconds: float, text: str) -> None:
        """Replace the bar by the stage's line."""
        self.clock.finish(stage.id)
        self.bars.remove_task(self.tasks.pop(stage.id))
        super().ends(stage, seconds, text)
        self._update()

    def _update(self) -> None:
        self.bars.update(self.overall, completed=float(self.number), text=self.clock.left())


@dataclass
class _Running:
    """A stage in progress: since when, and how much of it was done at first and is done now."""

    started: float
    first: float | None = None
    share: float = 0.0

    @property
    def done(self) -> float:
        """The share that was done while the clock ran."""
        return self.share - (self.first or 0.0)


class Clock:
    """Estimates the time left from the work that is left.

    Every kind of stage has a pace of its own: the work of an evaluation is an upper bound, and how
    far below it the attacks stay is only known once some of it is done.
    """

    def __init__(self) -> None:
        self.work: dict[str, tuple[str, float]] = {}
        self.running: dict[str, _Running] = {}
        self.seconds: dict[str, float] = {}
        self.finished: dict[str, float] = {}
        self.side_by_side = 1

    def begin(self, work: dict[str, tuple[str, float]]) -> None:
        """Take note of the kind and the work of every stage."""
        self.work = dict(work)

    def skip(self, stage: str) -> None:
        """Take off a stage that was done before."""
        del self.work[stage]

    def start(self, stage: str) -> None:
        """Start a stage."""
        self.running[stage] = _Running(time.monotonic())
        self.side_by_side = max(self.side_by_side, len(self.running))

    def move(self, stage: str, share: float) -> None:
        """Note how much of a stage is done; the first note says where it begins."""
        running = self.running[stage]
        if running.first is None:
            running.first = share
        running.share = share

    def finish(self, stage: str) -> None:
        """Take a stage off and learn from it."""
        running = self.running.pop(stage)
        kind, work = self.work.pop(stage)
        share = 1.0 - (running.first or 0.0)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.monotonic() - running.started
        self.finished[kind] = self.finished.get(kind, 0.0) + work * share

    def left(self) -> str:
        """Return the time left in words; empty while nothing is known."""
        total = 0.0
        for stage, (kind, work) in self.work.items():
            pace = self._pace(kind)
            if pace is None:
                return ""
            share = self.running[stage].share if stage in self.running else 0.0
            total += pace * work * (1.0 - share)
        return f"about {_words(total / self.side_by_side)} left"

    def _pace(self, kind: str) -> float | None:
        """Return the seconds per unit of work of a kind of stage, or of all where it is unknown."""
        seconds, finished = dict(self.seconds), dict(self.finished)
        for stage, running in self.running.items():
            own, work = self.work[stage]
            seconds[own] = seconds.get(own, 0.0) + time.monotonic() - running.started
            finished[own] = finished.get(own, 0.0) + work * running.done
        if finished.get(kind, 0.0) > 0:
            return seconds[kind] / finished[kind]
        known = sum(finished.values())
        return sum(seconds[k] for k in finished) / known if known > 0 else None


def _doing(stage: Stage) -> str:
    verb = {"gate": "warm up gate of"}.get(stage.kind, stage.kind)
    return f"{verb} {stage.model}" + (f" ({stage.suite})" if stage.suite else "")


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
