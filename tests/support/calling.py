"""Calls the command line as a user does."""

from typer.testing import CliRunner

from morex.cli.main import app


def call(*arguments: object) -> tuple[int, str, str]:
    """Call the command line and return exit code, standard output and standard error."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
