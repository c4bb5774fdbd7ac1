"""The app: its commands, in the order of ``morex --help``, and errors as one message.

A command is a function in the file of the same name.
"""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer

from morex.cli.audit import audit
from morex.cli.compare import compare
from morex.cli.curve import curve
from morex.cli.evaluate import evaluate
from morex.cli.extend import extend, shrink
from morex.cli.gate import gate
from morex.cli.listings import models, recipes
from morex.cli.plan import plan
from morex.cli.predict import predict
from morex.cli.report import report
from morex.cli.run import run
from morex.cli.table import table
from morex.core.file_errors import in_words
from morex.core.units import printable

P = ParamSpec("P")

COMMANDS: tuple[Callable[..., None], ...] = (
    run,
    plan,
    extend,
    shrink,
    recipes,
    models,
    table,
    report,
    gate,
    evaluate,
    curve,
    compare,
    audit,
    predict,
)
"""Every command, in the order in which the help lists them."""


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2."""
    app(prog_name="morex")


def with_plain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Return a command that turns the errors a user can mend into one message and exit code 2."""

    @wraps(command)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except (typer.Exit, typer.Abort):
            raise
        except (ValueError, OSError, RuntimeError, ImportError) as error:
            if type(error) is RuntimeError or not str(error):
                raise  # a bug, in torch or here: the traceback is needed
            text = in_words(error) if isinstance(error, OSError) else str(error)
            typer.secho(printable(f"error: {text}"), fg="red", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.secho("\ninterrupted; run the same command to continue", fg="yellow", err=True)
            raise typer.Exit(130) from None

    return wrapped


def _version(wanted: bool) -> None:
    if wanted:
        import morex

        typer.echo(f"morex {morex.__version__}")
        raise typer.Exit


def _options_of_morex(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _make_app() -> typer.Typer:
    made = typer.Typer(
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        help="Train, evaluate and use Mixtures of Robust Experts: image classifiers that stand up "
        "to a union of perturbations (lp attacks, fog, snow) and still do well on clean images.",
        epilog="Example: `morex run digits`",
    )
    made.callback()(_options_of_morex)
    for command in COMMANDS:
        made.command()(with_plain_errors(command))
    return made


app = _make_app()
