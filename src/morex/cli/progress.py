"""How far a command is, and the time that is left; shown on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from morex.core.units import rough_duration

Report = Callable[[float, str], None]
"""Called with the share of the work that is done, in [0, 1], and with what is being done now."""

_LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""

_BAR_EVERY = 0.1
"""Seconds between two moves of a bar."""


@contextmanager
def progress(title: str, start: float = 0.0, console: Console | None = None) -> Iterator[Report]:
    """Show how far some work is, and yield the function that reports it.

    On a terminal there is a bar, which disappears at the end. Elsewhere there is a line every 30
    seconds, so short work prints nothing. Print with ``morex.cli.output.say`` meanwhile.

    Args:
        title: what the command does, such as ``evaluate``.
        start: the share that was done before.
        console: where to show it; standard error by default.
    """
    console = console or Console(stderr=True)
    clock = Clock()
    clock.begin({title: ("", 1.0)})
    clock.start(title)
    clock.move(title, start)
    if not console.is_terminal:
        yield _Throttled(_line_printer(title, clock, console), title, clock, _LINE_EVERY)
        return
    with bars(console) as shown:
        task = shown.add_task(escape(title), total=1.0, text="")
        shown.update(task, completed=start)

        def move(share: float, doing: str) -> None:
            text = "  ".join(part for part in (doing, clock.time_left()) if part)
            shown.update(task, completed=share, text=escape(text))

        yield _Throttled(move, title, clock, _BAR_EVERY)


def bars(console: Console) -> Progress:
    """Return bars that disappear at the end; each task has a field ``text``.

    What is printed meanwhile appears above them. Standard output is redirected for this only where
    it is a terminal too: a file or a pipe gets what is printed to it.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}", style="dim"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )


def _line_printer(title: str, clock: "Clock", console: Console) -> Report:
    def show(share: float, doing: str) -> None:
        parts = (f"{title}: {100 * share:.0f}%", doing, clock.time_left())
        line = ", ".join(part for part in parts if part)
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    return show


class _Throttled:
    """A report that moves a clock each time, and shows something only at intervals."""

    def __init__(self, show: Report, title: str, clock: "Clock", every: float) -> None:
        self.show, self.title, self.clock, self.every = show, title, clock, every
        self.last = time.monotonic()

    def __call__(self, share: float, doing: str = "") -> None:
        self.clock.move(self.title, share)
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self.show(share, doing)


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
