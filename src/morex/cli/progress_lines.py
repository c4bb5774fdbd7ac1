"""Progress of a run: live lines with the time left on a terminal, plain lines otherwise."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from morex.core.units import rough_duration
from morex.run import (
    Event,
    Finished,
    Noticed,
    Observer,
    Planned,
    Progressed,
    Skipped,
    Stage,
    Started,
)


@contextmanager
def progress_printer(console: Console) -> Iterator[Observer]:
    """Yield an observer that prints the progress of a run to ``console``."""
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
    ) as bars:
        yield LiveLines(console, bars)


class PlainLines:
    """An observer that prints a line for every finished stage, and every notice."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = self.printed = 0

    def __call__(self, event: Event) -> None:
        """Print the line that an event calls for, if any."""
        match event:
            case Planned(stages):
                self.total = len(stages)
            case Skipped(stage):
                self._print(stage, "done before")
            case Finished(stage, seconds, text):
                self._print(stage, f"{seconds:7.1f} s  {text}")
            case Noticed(text):
                self.console.print(f"note: {text}", style="yellow", highlight=False, markup=False)

    def _print(self, stage: Stage, text: str) -> None:
        self.printed += 1
        line = f"[{self.printed}/{self.total}] {_doing(stage):<28} {text}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class LiveLines:
    """An observer that also shows a bar for each stage in progress, and one for the whole run.

    The bar of the whole run shows the time left.
    """

    def __init__(self, console: Console, bars: Progress) -> None:
        self.lines = PlainLines(console)
        self.bars = bars
        self.clock = Clock()
        self.overall = bars.add_task("all stages", total=1.0, text="")
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Move the bars, and print the line that an event calls for, if any."""
        match event:
            case Planned(stages, work):
                self.clock.begin({s.id: (s.kind, work[s.id]) for s in stages})
                self.bars.update(self.overall, total=float(len(stages)))
            case Skipped(stage):
                self.clock.skip(stage.id)
            case Started(stage):
                self.clock.start(stage.id)
                self.tasks[stage.id] = self.bars.add_task(escape(_doing(stage)), total=1.0, text="")
            case Progressed(stage, share, text):
                self.clock.move(stage.id, share)
                self.bars.update(self.tasks[stage.id], completed=share, text=text)
            case Finished(stage):
                self.clock.finish(stage.id)
                self.bars.remove_task(self.tasks.pop(stage.id))
        self.lines(event)
        self.bars.update(
            self.overall, completed=float(self.lines.printed), text=self.clock.time_left()
        )


@dataclass
class _Running:
    """A stage in progress.

    ``first`` is the share that was done when the clock started, None until it is known.
    """

    started: float
    first: float | None = None
    share: float = 0.0

    @property
    def done(self) -> float:
        """The share that was done while the clock ran."""
        return self.share - (self.first or 0.0)


class Clock:
    """Estimates the time left from the work that is left.

    Each kind of stage has a separate pace: the work of an evaluation is an upper bound, and how far
    below it the attacks stay is known only once some of it is done.
    """

    def __init__(self) -> None:
        self.work: dict[str, tuple[str, float]] = {}
        self.running: dict[str, _Running] = {}
        self.seconds: dict[str, float] = {}
        self.finished: dict[str, float] = {}
        self.side_by_side = 1

    def begin(self, work: dict[str, tuple[str, float]]) -> None:
        """Remember the kind and the work of every stage."""
        self.work = dict(work)

    def skip(self, stage: str) -> None:
        """Remove a stage that was done before."""
        del self.work[stage]

    def start(self, stage: str) -> None:
        """Start a stage."""
        self.running[stage] = _Running(time.monotonic())
        self.side_by_side = max(self.side_by_side, len(self.running))

    def move(self, stage: str, share: float) -> None:
        """Remember the share of a stage that is done; the first call says where it starts."""
        running = self.running[stage]
        if running.first is None:
            running.first = share
        running.share = share

    def finish(self, stage: str) -> None:
        """Remove a finished stage and learn its pace."""
        running = self.running.pop(stage)
        kind, work = self.work.pop(stage)
        share = 1.0 - (running.first or 0.0)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.monotonic() - running.started
        self.finished[kind] = self.finished.get(kind, 0.0) + work * share

    def time_left(self) -> str:
        """Return the time left in words; an empty string while no pace is known."""
        total = 0.0
        for stage, (kind, work) in self.work.items():
            pace = self._pace(kind)
            if pace is None:
                return ""
            share = self.running[stage].share if stage in self.running else 0.0
            total += pace * work * (1.0 - share)
        return f"about {rough_duration(total / self.side_by_side)} left"

    def _pace(self, kind: str) -> float | None:
        """Return the seconds per unit of work of a kind of stage, or of all kinds if unknown."""
        seconds, finished = dict(self.seconds), dict(self.finished)
        for stage, running in self.running.items():
            its_kind, work = self.work[stage]
            elapsed = time.monotonic() - running.started
            seconds[its_kind] = seconds.get(its_kind, 0.0) + elapsed
            finished[its_kind] = finished.get(its_kind, 0.0) + work * running.done
        if finished.get(kind, 0.0) > 0:
            return seconds[kind] / finished[kind]
        known = sum(finished.values())
        return sum(seconds[k] for k in finished) / known if known > 0 else None


def _doing(stage: Stage) -> str:
    verb = {"gate": "warm up gate of"}.get(stage.kind, stage.kind)
    return f"{verb} {stage.model}" + (f" ({stage.suite})" if stage.suite else "")
