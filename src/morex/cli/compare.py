"""``morex compare``: two models on the same test images."""

from collections.abc import Iterator
from pathlib import Path

from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import Comparison


def compare(first: Path, second: Path) -> Iterator[str]:
    """Yield a line per row that both outcomes have, and one for the union of those rows.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, or they share no row.
    """
    a, b = Outcomes.load(first), Outcomes.load(second)
    shared = [row for row in a.rows if row in b.rows]
    if not shared:
        raise ValueError(
            f"{first} and {second} share no row: {', '.join(a.rows)} and {', '.join(b.rows)}"
        )
    names = max(len("union"), *map(len, shared))
    yield f"{'':{names}}  first  second  difference  only first  only second      n       p"
    for row in shared:
        yield _line(row.ljust(names), Comparison.of(a.right[row], b.right[row]))
    yield _line("union".ljust(names), Comparison.of(a.union(shared), b.union(shared)))
    yield "p: McNemar's exact test on the examples where the two differ"


def _line(name: str, c: Comparison) -> str:
    return (
        f"{name}  {100 * c.first:5.1f}  {100 * c.second:6.1f}  "
        f"{100 * (c.first - c.second):+10.1f}  {c.only_first:10}  {c.only_second:11}  {c.n:5}  "
        f"{c.p:6.4f}"
    )
