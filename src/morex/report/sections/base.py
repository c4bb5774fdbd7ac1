"""What every section of the page is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from morex.report.charts import Figure


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: its anchor.
        title: its heading.
        intro: one or two sentences under it.
        figures: its charts.
        part: the template of what is not a chart; empty for none.
        content: what that template shows.
    """

    id: str
    title: str
    intro: str = ""
    figures: Sequence[Figure] = ()
    part: str = ""
    content: dict[str, Any] = field(default_factory=dict)


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def points(share: float | None) -> float | None:
    """Return a share in [0, 1] in percentage points with one decimal."""
    return None if share is None else round(100 * share, 1)


def plural(count: int, noun: str) -> str:
    """Return ``1 model`` or ``2 models``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
