"""Progress of a run: one live line with the time left on a terminal, plain lines otherwise."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from morex.run import Stage, Watcher


@contextmanager
def live_watcher(console: Console) -> Iterator[Watcher]:
    """Give a watcher that prints to ``console`` for the length of a block."""
    if not console.is_terminal:
        yield Reporter(console)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[text]}", style="dim"),
        console=console,
        transient=True,
    ) as progress:
        yield Reporter(console, progress)


class Reporter:
    """Prints a line for every finished stage; with ``progress`` also a bar for the running one."""

    def __init__(self, console: Console, progress: Progress | None = None) -> None:
        self.console, self.bar = console, progress
        self.clock = Clock()
        self.total = self.number = 0
        self.task = progress.add_task("", total=1.0, left="", text="") if progress else None

    def begins(self, stages: list[Stage], passes: dict[str, float]) -> None:
        """Remember how much there is to do."""
        self.total = len(stages)
        self.clock.begin({s.id: (s.kind == "evaluate", passes[s.id]) for s in stages})

    def skips(self, stage: Stage) -> None:
        """Count a stage that was done before."""
        self._line(stage, "done before")
        self.clock.done(stage.id, None)

    def starts(self, stage: Stage) -> None:
        """Name the stage that begins."""
        self._show(stage, 0.0, "")

    def progress(self, stage: Stage, share: float, text: str) -> None:
        """Move the bar."""
        self._show(stage, share, text)

    def ends(self, stage: Stage, seconds: float, text: str) -> None:
        """Print the stage's line."""
        self.clock.done(stage.id, seconds)
        self._line(stage, f"{seconds:7.1f} s  {text}")

    def notice(self, text: str) -> None:
        """Print a warning."""
        self.console.print(f"note: {text}", style="yellow", highlight=False, markup=False)

    def _line(self, stage: Stage, text: str) -> None:
        self.number += 1
        head = f"[{self.number}/{self.total}] {_doing(stage):<28}"
        self.console.print(f"{head} {text}", highlight=False, markup=False)

    def _show(self, stage: Stage, share: float, text: str) -> None:
        if self.bar and self.task is not None:
            self.bar.update(
                self.task,
                completed=share,
                description=f"[{self.number + 1}/{self.total}] {_doing(stage)}".replace("[", r"\["),
                left=self.clock.left(stage.id, share),
                text=text,
            )


class Clock:
    """Estimates the time left from the passes that are left.

    Trainings and evaluations have a pace each: the passes of an evaluation are an upper bound, and
    how far below it the attacks stay is only known once one is done.
    """

    def __init__(self) -> None:
        self.stages: dict[str, tuple[bool, float]] = {}
        self.spent: dict[bool, list[float]] = {True: [0.0, 0.0], False: [0.0, 0.0]}
        self.started = time.monotonic()

    def begin(self, stages: dict[str, tuple[bool, float]]) -> None:
        """Take note of all stages: whether each is an evaluation, and its passes."""
        self.stages = dict(stages)
        self.started = time.monotonic()

    def done(self, stage: str, seconds: float | None) -> None:
        """Take a stage off, with the seconds it took, or None if it was done before."""
        kind, passes = self.stages.pop(stage)
        if seconds is not None:
            self.spent[kind][0] += seconds
            self.spent[kind][1] += passes
        self.started = time.monotonic()

    def left(self, stage: str, share: float) -> str:
        """Return the time left in words, when a share of the current stage is done."""
        elapsed = time.monotonic() - self.started
        seconds = 0.0
        for name, (kind, passes) in self.stages.items():
            pace = self._pace(kind, stage, share, elapsed)
            if pace is None:
                return ""
            seconds += pace * passes * ((1 - share) if name == stage else 1)
        return f"about {_words(seconds)} left"

    def _pace(self, kind: bool, stage: str, share: float, elapsed: float) -> float | None:
        """Return seconds per pass of trainings or evaluations, of the other kind if need be."""
        current_kind, current_passes = self.stages[stage]
        known = {k: list(v) for k, v in self.spent.items()}
        known[current_kind][0] += elapsed if share else 0.0
        known[current_kind][1] += current_passes * share
        for option in (kind, not kind):
            seconds, passes = known[option]
            if passes > 0 and seconds > 0:
                return seconds / passes
        return None


def _doing(stage: Stage) -> str:
    verb = {"gate": "warm up gate of", "train": "train", "evaluate": "evaluate"}[stage.kind]
    return f"{verb} {stage.model}"


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
