"""``morex demo``: the whole of morex on embedded images, from training to the report page."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from morex.cli.output import say
from morex.cli.run import run

_RECIPE = "digits"
_LEAD = "more+-all"


def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The run directory.")] = Path("runs")
    / _RECIPE,
    play: Annotated[
        bool, typer.Option("--play", help="Then serve the playground of MoRE+ (all).")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open a browser.")
    ] = False,
) -> None:
    """Train 13 models on handwritten digits, attack each in 9 ways, and open the report page.

    The images come with scikit-learn, so nothing is downloaded. It takes about two minutes on two
    cores, and may be stopped: the same command continues. A browser opens only if the command runs
    on a terminal.

    Example: `morex demo --play`
    """
    from morex.report.page import PAGE

    if play:
        from morex.cli.serve import check_extra

        check_extra()  # before the work, not after it
    run(_RECIPE, out=str(out))
    opens = on_terminal() and not no_browser
    if play:
        from morex.cli.serve import serve_model

        serve_model(str(out / "models" / _LEAD), port=0, opens=opens)
    elif opens:
        webbrowser.open((out / PAGE).resolve().as_uri())
    else:
        say(f"play with MoRE+ (all): morex serve {out / 'models' / _LEAD}")


def on_terminal() -> bool:
    """Return whether somebody is likely to see a browser that opens."""
    return sys.stdout is not None and sys.stdout.isatty()
