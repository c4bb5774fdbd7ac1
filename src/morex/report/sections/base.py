"""A section of the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from morex.report.charts import Figure


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: anchor.
        title: heading.
        intro: one or two sentences under the heading.
        figures: charts.
        part: template of everything that is not a chart; empty if there is none.
        content: values for that template.
    """

    id: str
    title: str
    intro: str = ""
    figures: Sequence[Figure] = ()
    part: str = ""
    content: dict[str, Any] = field(default_factory=dict)
