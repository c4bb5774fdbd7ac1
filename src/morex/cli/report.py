"""``morex report``: the page of a run, or one that compares several runs."""

import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from morex.cli.output import say, say_aside

COMPARISON = "comparison.html"


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="A run directory, or its URL, such as s3://bucket/runs/digits; several runs are "
            "compared.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the page to this file, not to the usual place."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the report page of a run, or a page that compares several runs.

    The page of one run is RUN/report.html: a single file, for any browser. If the run is not
    finished, the page shows the results so far. It also shows the audits in RUN/audits. The page
    of several runs is comparison.html in the current folder. The page of a run at a URL is in its
    local copy. With `--out`, the page is written to FILE instead.

    Example: `morex report runs/digits --open`
    """
    from morex.artifacts.stored_runs import local_run

    say(f"report: {write_pages([*map(local_run, runs)], out, show=show)}")


def write_pages(runs: Sequence[Path], out: Path | None = None, *, show: bool) -> Path:
    """Write the page of one run into it, or that of several into the current folder.

    Args:
        runs: run directories.
        out: a file to write instead.
        show: whether to open the page in a browser.

    Returns:
        The file with the page.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results file yet.
        ValueError: if the results or outcomes of a run are damaged, or ``out`` is a folder.
    """
    from morex.report.comparison import write_comparison
    from morex.report.page import write_report

    if out and out.is_dir():
        raise ValueError(f"--out {out} is a folder; give the name of a file")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
    if len(runs) == 1:
        page = write_report(runs[0], out)
    else:
        page = out or Path(COMPARISON)
        write_comparison(runs, page)
    if show:
        webbrowser.open(page.resolve().as_uri())
    return page


@contextmanager
def report_even_if_stopped(run: Path) -> Iterator[None]:
    """If the block is interrupted or fails, write the run's page with the results so far."""
    from morex.report.page import write_report

    try:
        yield
    except BaseException:
        with suppress(Exception):  # there may be no results yet; the first error is the one to show
            say_aside(f"results so far: {write_report(run)}")
        raise
