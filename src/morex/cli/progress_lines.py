"""Progress of a run: live lines with the time left on a terminal, plain lines otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from morex.cli.progress import Clock, bars
from morex.core.units import printable
from morex.run import (
    Event,
    Finished,
    Loaded,
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
    with bars(console) as shown:
        yield LiveLines(console, shown)


class PlainLines:
    """An observer that prints a line for every finished stage, and every notice."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = self.printed = self.width = 0

    def __call__(self, event: Event) -> None:
        """Print the line that an event calls for, if any."""
        match event:
            case Loaded(lines):
                for line in lines:
                    self._line(line)
            case Planned(stages):
                self.total = len(stages)
                self.width = max((len(_doing(stage)) for stage in stages), default=0)
            case Skipped(stage):
                self._print(stage, "done before")
            case Finished(stage, seconds, text):
                self._print(stage, f"{seconds:7.1f} s  {text}")
            case Noticed(text):
                note = printable(f"note: {text}")
                self.console.print(note, style="yellow", highlight=False, markup=False)

    def _print(self, stage: Stage, text: str) -> None:
        self.printed += 1
        count = f"[{self.printed}/{self.total}]".ljust(len(f"[{self.total}/{self.total}]"))
        self._line(f"{count} {_doing(stage):<{self.width}} {text}")

    def _line(self, text: str) -> None:
        self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


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


def _doing(stage: Stage) -> str:
    verb = {"gate": "warm up gate of"}.get(stage.kind, stage.kind)
    return f"{verb} {stage.model}" + (f" ({stage.suite})" if stage.suite else "")
