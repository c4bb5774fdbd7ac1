"""``morex compare``: two models on the same test images."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.output import say

if TYPE_CHECKING:
    from morex.artifacts.statistics import Comparison

_HEAD = "  first  second  difference  only first  only second      n       p"


def compare(
    first: Annotated[
        Path,
        typer.Argument(metavar="FIRST", help="The outcomes of one model, an .npz file."),
    ],
    second: Annotated[
        Path,
        typer.Argument(metavar="SECOND", help="The outcomes of another model on the same images."),
    ],
) -> None:
    """Compare two models example by example, with a paired test.

    Outcomes are in a run's folder `outcomes`; `morex evaluate --out` writes them too.

    Example: `morex compare runs/digits/outcomes/more-all.npz runs/digits/outcomes/avg-all.npz`
    """
    for line in comparison(first, second):
        say(line)


def comparison(first: Path, second: Path) -> Iterator[str]:
    """Yield a line per row that both outcomes have, and one for the union of these rows.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the two share no row.
    """
    from morex.artifacts.outcomes import Outcomes
    from morex.artifacts.statistics import Comparison

    a, b = Outcomes.load(first), Outcomes.load(second)
    shared = [row for row in a.rows if row in b.rows]
    if not shared:
        raise ValueError(
            f"{first} and {second} share no row: {', '.join(a.rows)} and {', '.join(b.rows)}"
        )
    names = max(len("union"), *map(len, shared))
    yield f"{'':{names}}{_HEAD}"
    for row in shared:
        yield _line(row.ljust(names), Comparison.of(a.right[row], b.right[row]))
    yield _line("union".ljust(names), Comparison.of(a.union(shared), b.union(shared)))
    yield "p: McNemar's exact test on the examples where the two differ"


def _line(name: str, c: "Comparison") -> str:
    return (
        f"{name}  {100 * c.first:5.1f}  {100 * c.second:6.1f}  "
        f"{100 * (c.first - c.second):+10.1f}  {c.only_first:10}  {c.only_second:11}  {c.n:5}  "
        f"{c.p:6.4f}"
    )
