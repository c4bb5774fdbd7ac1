"""``morex table``: a run's Table 1."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from morex.cli.options import RunPlace
from morex.core.near import not_among


def table(
    run: RunPlace,
    format: Annotated[
        str, typer.Option(metavar="FORMAT", help="One of text, markdown, csv and json.")
    ] = "text",
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Show the table of one of the run's other suites, not Table 1."
        ),
    ] = None,
) -> None:
    """Print a run's Table 1: every model under every attack, the union and the mean.

    The paper's figures are shown too where the setting is that of the paper.

    Example: `morex table runs/digits --format json`
    """
    from morex.artifacts.stored_runs import local_run

    if suite == "":
        raise ValueError("--suite '': expected the name of a suite; without it Table 1 is shown")
    print_table(local_run(run), format, suite or "")


def print_table(run: Path, format: str, suite: str = "") -> None:
    """Print the table of a run, or of one of its other suites.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results yet.
        ValueError: if there is no such format, or the results are damaged.
    """
    from morex.report import FORMATS, make_table, read_results, to_text

    if format not in FORMATS:
        raise ValueError(not_among("format", format, FORMATS))
    content = make_table(read_results(run, suite))
    if format == "text" and sys.stdout.isatty():
        text = to_text(content, width=Console().width, styled=True)
    else:
        text = FORMATS[format](content)
    typer.echo(text, nl=not text.endswith("\n"))
