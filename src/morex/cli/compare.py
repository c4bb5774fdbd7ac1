"""``morex compare``: two models on the same test images."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.output import AsJson, print_json, say
from morex.core.units import p_value

if TYPE_CHECKING:
    from morex.artifacts.statistics import Comparison

_HEAD = "  first  second  difference  only first  only second      n        p"


def compare(
    first: Annotated[
        Path,
        typer.Argument(metavar="FIRST", help="The outcomes of one model, an .npz file."),
    ],
    second: Annotated[
        Path,
        typer.Argument(metavar="SECOND", help="The outcomes of another model on the same images."),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare two models example by example, with a paired test.

    Outcomes are in a run's folder `outcomes`; `morex evaluate --out` writes them too.

    Example: `morex compare runs/digits/outcomes/more-all.npz runs/digits/outcomes/avg-all.npz`
    """
    rows = comparisons(first, second)
    if as_json:
        found = {name: row.content() for name, row in rows.items()}
        print_json({"first": str(first), "second": str(second), "rows": found})
        return
    for line in _lines(rows):
        say(line)


def comparisons(first: Path, second: Path) -> "dict[str, Comparison]":
    """Return a comparison of each row that both outcomes have, and of the union of these rows.

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
    rows = {row: Comparison.of(a.right[row], b.right[row]) for row in shared}
    return rows | {"union": Comparison.of(a.union(shared), b.union(shared))}


def _lines(rows: "Mapping[str, Comparison]") -> Iterator[str]:
    """Yield the lines of a table, with a head and a note."""
    names = max(map(len, rows))
    yield f"{'':{names}}{_HEAD}"
    for name, row in rows.items():
        yield name.ljust(names) + _cells(row)
    yield (
        "in % of n images; only first, only second: numbers of images, on which McNemar's exact "
        "test gives p"
    )


def _cells(c: "Comparison") -> str:
    return (
        f"  {100 * c.first:5.1f}  {100 * c.second:6.1f}  {100 * (c.first - c.second):+10.1f}  "
        f"{c.only_first:10}  {c.only_second:11}  {c.n:5}  {p_value(c.p):>7}"
    )
