"""``morex compare``: two models on the same test images."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.output import AsJson, print_json, say
from morex.core.units import listed, p_value

if TYPE_CHECKING:
    from morex.artifacts.outcomes import Outcomes
    from morex.artifacts.statistics import Comparison

    _Files = tuple[tuple[Path, Outcomes], tuple[Path, Outcomes]]

_HEAD = "  first  second  difference  only first  only second      n        p"


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="FIRST", help="The outcomes of one model, an .npz file."),
    ],
    second: Annotated[
        str,
        typer.Argument(metavar="SECOND", help="The outcomes of another model on the same images."),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare two models example by example, with a paired test.

    Outcomes are in a run's folder `outcomes`, also if the run is at a URL; `morex evaluate --out`
    writes them too.

    Example: `morex compare runs/digits/outcomes/more-all.npz runs/digits/outcomes/avg-all.npz`
    """
    from morex.artifacts.stored_runs import local_file

    rows, remarks = comparisons(local_file(first), local_file(second))
    if as_json:
        found = {name: row.content() for name, row in rows.items()}
        files = {"first": first, "second": second}
        print_json(files | {"rows": found, "remarks": remarks})
        return
    for line in (*_lines(rows), *remarks):
        say(line)


def comparisons(first: Path, second: Path) -> "tuple[dict[str, Comparison], list[str]]":
    """Return a comparison of each row that both outcomes have and of their union, and remarks.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, the two share no row, or rows of the same name were
            measured on other images or in another way.
    """
    from morex.artifacts.outcomes import Outcomes
    from morex.artifacts.statistics import Comparison

    a, b = Outcomes.load(first), Outcomes.load(second)
    shared = [row for row in a.rows if row in b.rows]
    if not shared:
        raise ValueError(
            f"{first} and {second} share no row: {', '.join(a.rows)} and {', '.join(b.rows)}"
        )
    files = ((first, a), (second, b))
    _check_alike(files, shared)
    rows = {row: Comparison.of(a.right[row], b.right[row]) for row in shared}
    rows["union"] = Comparison.of(a.union(shared), b.union(shared))
    return rows, [*_left_out(files, shared), *_unchecked(files, shared)]


def _check_alike(files: "_Files", rows: list[str]) -> None:
    """Raise if rows that both outcomes have differ in more than the model."""
    from morex.artifacts.origins import unlike

    (first, a), (second, b) = files
    if found := unlike(a.origins, b.origins, rows):
        row, difference = next(iter(found.items()))
        raise ValueError(
            f"{first} and {second} cannot be compared: in row {row!r} {difference.words}; evaluate "
            "both models on the same images, with the same attacks, seed and batch size"
        )


def _left_out(files: "_Files", rows: list[str]) -> Iterator[str]:
    """Yield a remark on each file with rows that the other does not have."""
    for path, outcomes in files:
        if own := [row for row in outcomes.rows if row not in rows]:
            yield (
                f"remark: only {path} has {listed(own)}; the union is that of the shared rows, so "
                "that of the file may be lower"
            )


def _unchecked(files: "_Files", rows: list[str]) -> Iterator[str]:
    """Yield a remark on each file in which a row has no record of how it was measured."""
    for path, outcomes in files:
        if any(row not in outcomes.origins for row in rows):
            yield (
                f"remark: {path} does not record its images and attacks (an older version wrote "
                "it), so it was not checked that both models were measured alike"
            )


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
