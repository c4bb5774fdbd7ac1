"""``morex watch``: follow a run in progress, from its files alone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from morex.cli.options import RunPlace
from morex.cli.output import AsJson, print_json, say, say_aside
from morex.core.object_store import is_url
from morex.core.units import printable

if TYPE_CHECKING:
    from morex.artifacts.progress import StageProgress
    from morex.report.watching import Watched

_EVERY = 2.0
"""Seconds between two looks at the files."""

_EVERY_URL = 10.0
"""The same for a run at a URL."""


def watch(
    run: RunPlace,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep a page with curves in this file, too; a browser reads it again by itself.",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Show how far the run is now, and end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Follow a run in progress: its stages, the time left and the table so far.

    Only the files of the run are read, so it may run on another machine that shares the folder.
    On a terminal the command ends when the run does, or with Ctrl-C, which does not stop the run.
    Elsewhere, and with `--json`, it shows once how far the run is, unless it keeps a page.

    Example: `morex watch runs/digits --page watch.html`
    """
    console = Console()
    first = _look(run)
    if page:
        _write(page, first)
        say_aside(f"page: {page}")
    if as_json:
        print_json(in_json(first))
    elif once or not (console.is_terminal or page):
        for line in _lines(first):
            say(line)
    else:
        _follow(run, page, console)


def _look(run: str, before: "Watched | None" = None) -> "Watched":
    """Return how far a run is; the local copy of one at a URL is brought up to date first."""
    from morex.artifacts.stored_runs import local_run
    from morex.report.watching import watch as look

    return look(local_run(run), time.time(), before)


def _follow(run: str, page: Path | None, console: Console) -> None:
    """Look at a run until it is finished; show it on a terminal, and keep its page."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        seen: Watched | None = None
        while True:
            seen = _look(run, seen)
            if page:
                _write(page, seen)
            if console.is_terminal:
                live.update(_shown(seen, console), refresh=True)
            if seen.state in ("finished", "stopped"):
                break
            time.sleep(_EVERY_URL if is_url(run) else _EVERY)
    for line in _lines(seen):
        say(line)


def _write(page: Path, seen: "Watched") -> None:
    from morex.report.watch_page import write_watch_page

    if page.is_dir():
        raise ValueError(f"--page {page} is a folder; give the name of a file")
    write_watch_page(page, seen)


def _lines(seen: "Watched") -> Iterator[str]:
    """Yield what is printed where nothing moves."""
    from morex.report.watch_page import where_it_is

    yield f"{seen.name}: {seen.headline}"
    width = max((len(stage.title) for stage in seen.stages.values()), default=0)
    for stage in seen.stages.values():
        yield f"  {stage.title:{width}}  {where_it_is(stage)}"
    yield from _afterwards(seen)


def _afterwards(seen: "Watched") -> Iterator[str]:
    """Yield the table so far, errors and notes."""
    from morex.report import to_text

    if seen.material and seen.material.file.columns:
        yield ""
        yield from to_text(seen.material.table).rstrip().splitlines()
    if seen.error:
        yield f"the log of errors ends with: {seen.error}"
    yield from (f"note: {note}" for note in seen.notes)


def _shown(seen: "Watched", console: Console) -> RenderableType:
    """Return what a terminal shows of a run: no more than fits."""
    from morex.report.sections.table1 import without_missing
    from morex.report.text import to_text

    head = Text(printable(f"{seen.name}: {seen.headline}"), style="bold")
    parts: list[RenderableType] = [head, _stages(seen, most=max(3, console.height - 8))]
    if seen.material and seen.material.file.columns:
        text = to_text(without_missing(seen.material.table), width=console.width, styled=True)
        table = Text.from_ansi(text)
        if len(table.split()) + len(seen.stages) + 4 < console.height:
            parts.append(table)
    warnings = [seen.error, *seen.notes]
    parts += [Text(printable(line), style="yellow") for line in warnings if line]
    return Group(*parts)


def _stages(seen: "Watched", most: int) -> Grid:
    """Return the stages as bars; of many, those that run, the last done and the next."""
    from morex.report.watch_page import where_it_is

    grid = Grid.grid(padding=(0, 2))
    for stage in _chosen([*seen.stages.values()], most):
        style = {"waiting": "dim", "done": "green"}.get(stage.state, "bold")
        bar = ProgressBar(total=1.0, completed=stage.share, width=20)
        words = Text(printable(where_it_is(stage)), style=style, overflow="ellipsis", no_wrap=True)
        grid.add_row(Text(printable(stage.title), style=style, no_wrap=True), bar, words)
    return grid


def _chosen(stages: "list[StageProgress]", most: int) -> "list[StageProgress]":
    """Return at most ``most`` stages: those in progress first, then the next, then the last."""
    if len(stages) <= most:
        return stages
    running = [s for s in stages if s.state == "running"]
    waiting = [s for s in stages if s.state == "waiting"]
    done = [s for s in stages if s.state == "done"]
    room = max(0, most - len(running))
    last = done[len(done) - min(len(done), max(room - len(waiting), room // 2)) :]
    return [*last, *running, *waiting][:most]


def in_json(seen: "Watched") -> dict[str, Any]:
    """Return how far a run is, as JSON."""
    return {
        "name": seen.name,
        "state": seen.state,
        "seconds_left": seen.left,
        "heard_seconds_ago": seen.heard,
        "stages": {
            name: stage.model_dump(include={"kind", "model", "suite", "state", "share", "text"})
            for name, stage in seen.stages.items()
        },
        "error": seen.error,
        "notes": [*seen.notes],
    }
