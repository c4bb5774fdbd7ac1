"""``morex report``: the page of a run, or one that compares several."""

import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from morex.report.comparison import write_comparison
from morex.report.page import write_report

COMPARISON = "comparison.html"


def report_pages(runs: Sequence[Path], *, show: bool) -> Path:
    """Write the page of one run into it, or that of several into the current folder.

    Args:
        runs: run directories.
        show: whether to open it in a browser.

    Returns:
        Where the page is.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results file yet.
        ValueError: if the results or outcomes of one are damaged.
    """
    if len(runs) == 1:
        page = write_report(runs[0])
    else:
        page = Path(COMPARISON)
        write_comparison(runs, page)
    if show:
        webbrowser.open(page.resolve().as_uri())
    return page


@contextmanager
def reporting(run: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Write the run's page if the block is interrupted or fails: what is there so far is shown."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # there may be nothing yet: why, is about to be told
            say(f"what is there so far: {write_report(run)}")
        raise
