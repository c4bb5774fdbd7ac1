"""Calls the command line as a user does."""

from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from morex.cli.main import app


class FinishedRun(NamedTuple):
    """A run that the command line made: its directory, and what was printed."""

    folder: Path
    out: str
    err: str


def stage_lines(err: str) -> list[str]:
    """Return the lines that a run printed, one per finished stage."""
    return [line for line in err.splitlines() if line.startswith("[")]


def call(*arguments: object) -> tuple[int, str, str]:
    """Call the command line and return exit code, standard output and standard error."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
