"""The app: its commands, in the order of ``morex --help``, and errors as one message.

A command is a function in the file of the same name.
"""

import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from morex.cli.audit import audit
from morex.cli.broken_pipe import output_is_unread, quiet_if_unread
from morex.cli.compare import compare
from morex.cli.curve import curve
from morex.cli.demo import demo
from morex.cli.evaluate import evaluate
from morex.cli.export import export
from morex.cli.extend import extend, shrink
from morex.cli.gate import gate
from morex.cli.listings import models, recipes
from morex.cli.plan import plan
from morex.cli.predict import predict
from morex.cli.push import push
from morex.cli.report import report
from morex.cli.run import run
from morex.cli.serve import serve
from morex.cli.sparse import sparse
from morex.cli.table import table
from morex.cli.watch import watch
from morex.core.file_errors import in_words
from morex.core.stopping import ExitedError, Stopped, no_exit, stopped_by_signals
from morex.core.units import printable

P = ParamSpec("P")

_URL = re.compile(r"[a-z][a-z0-9+]+:/")

Debug = Annotated[bool, typer.Option("--debug", help="If an error ends the command, show where.")]

COMMANDS: tuple[Callable[..., None], ...] = (
    demo,
    run,
    watch,
    plan,
    extend,
    shrink,
    sparse,
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
    export,
    serve,
    push,
)
"""Every command, in the order in which the help lists them."""


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2."""
    with quiet_if_unread():
        app(prog_name="morex")


def with_plain_errors(command: Callable[P, None]) -> Callable[..., None]:
    """Return a command that turns the errors a user can mend into one message and exit code 2.

    The command has one more option, ``--debug``.
    """

    @wraps(command)
    def wrapped(*arguments: Any, debug: bool = False, **options: Any) -> None:
        try:
            _check_paths(options)
            with stopped_by_signals(), no_exit("this command"):
                command(*arguments, **options)
        except (typer.Exit, typer.Abort):
            raise
        except (ValueError, OSError, RuntimeError, ImportError, ExitedError) as error:
            if type(error) is RuntimeError or not str(error):
                raise  # a bug, in torch or here: the traceback is needed
            if isinstance(error, BrokenPipeError) and output_is_unread():
                raise
            if debug:
                typer.echo(printable("".join(traceback.format_exception(error))), err=True)
            text = in_words(error) if isinstance(error, OSError) else str(error)
            typer.secho(printable(f"error: {text}"), fg="red", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as error:
            typer.secho(f"\n{_interruption(error)}", fg="yellow", err=True)
            raise typer.Exit(128 + error.number if isinstance(error, Stopped) else 130) from None

    return _with_option(wrapped, "debug", Debug)


def _check_paths(options: Mapping[str, object]) -> None:
    """Raise if a URL was given where only a path can be: it would become the name of a folder."""
    for name, value in options.items():
        if isinstance(value, Path) and _URL.match(str(value)) and not value.exists():
            option = name.replace("_", "-")
            raise ValueError(
                f"{option} {str(value)!r}: expected a path of this machine, got a URL; only run "
                "directories, models in them and their outcomes can be at a URL"
            )


def _interruption(error: KeyboardInterrupt) -> str:
    """Return how a command was interrupted, and in which stage of a run if there was one."""
    how = f"stopped by {error}" if isinstance(error, Stopped) else "interrupted"
    return " ".join([how, *getattr(error, "__notes__", ())]) + "; run the same command to continue"


def _with_option(function: Callable[..., None], name: str, form: Any) -> Callable[..., None]:
    """Return a function whose signature shows one more option, which is off by default."""
    signature = inspect.signature(function)
    option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=form)
    parameters = [*signature.parameters.values(), option]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {**function.__annotations__, name: form}
    return function


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
