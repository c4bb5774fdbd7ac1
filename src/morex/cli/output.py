"""What a command prints: lines for people, or one JSON object for programs."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from morex.core.units import percent, printable

if TYPE_CHECKING:
    from morex.artifacts.statistics import Proportion

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object to standard output; everything else goes to standard error.",
    ),
]


def say(line: str) -> None:
    """Print a line to standard output; it appears above a bar if one is shown.

    Control characters are escaped: names of files and classes may be a stranger's.
    """
    _write(sys.stdout, line)


def say_aside(line: str) -> None:
    """Print a line to standard error; it appears above a bar if one is shown."""
    _write(sys.stderr, line)


def _write(stream: TextIO | None, line: str) -> None:
    """Write a line; typer.echo would write past the bar. A closed stream is None."""
    if stream is not None:
        stream.write(f"{printable(line)}\n")
        stream.flush()


def lines_beside(as_json: bool) -> Callable[[str], None]:
    """Return what prints the lines for people: standard output may be taken by JSON."""
    return say_aside if as_json else say


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object to standard output.

    Raises:
        ValueError: if a number is not finite, since JSON has no word for it.
    """
    say(json.dumps(content, indent=1, allow_nan=False))


def in_words(share: "Proportion") -> str:
    """Return for example ``41.2%  95% interval 32.1 to 51.0%, n 100``, aligned for columns."""
    low, high = (100 * end for end in share.interval)
    return f"{percent(share.value):>6}  95% interval {low:.1f} to {high:.1f}%, n {share.n}"
