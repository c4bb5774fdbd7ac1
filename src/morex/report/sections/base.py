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
