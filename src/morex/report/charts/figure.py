"""Everything around the marks of a chart: message, note, legend and numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from markupsafe import Markup

from morex.report.charts.svg import marker, picture, segment, stroke

PHONE = 316
"""The width of drawings for the narrowest phones."""

_FITS = {4: 263, 3: 355}
"""How wide panels may be so that 4 or 3 of them fit side by side; the style sheet has the same."""

Cell = str | int | float | None


@dataclass(frozen=True)
class DataTable:
    """The numbers of a chart; None is an empty cell."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Key:
    """One series of a legend: name, slot (colour, marker, dash), and line or mark."""

    name: str
    slot: int
    line: bool = False

    @property
    def sample(self) -> Markup:
        """A small picture of the series."""
        line = [segment(1, 7, 25, 7, stroke(self.slot))] if self.line else []
        return picture(26, 14, self.name, *line, marker(self.slot, 13, 7, "", self.name))


@dataclass(frozen=True)
class Panel:
    """One drawing of a figure, with a caption if there are several.

    ``narrow`` is the same drawing for the width of a phone; None if there is only one.
    """

    drawing: Markup
    caption: str = ""
    narrow: Markup | None = None

    @property
    def width(self) -> float:
        """The width of the drawing."""
        found = re.search(r' width="([\d.]+)"', self.drawing)
        assert found, "every drawing states its width"
        return float(found[1])


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        message: what the chart shows, as a sentence.
        note: how to read the chart, with units and n.
        panels: the drawings.
        numbers: the same as a table, for readers who cannot see the drawings.
        keys: the legend; its series can be switched off.
    """

    message: str
    note: str
    panels: Sequence[Panel]
    numbers: DataTable
    keys: Sequence[Key] = ()

    @property
    def wide(self) -> bool:
        """Whether it needs the whole width of the page."""
        return len(self.panels) > 1

    @property
    def across(self) -> int:
        """How many panels fit side by side on a wide page, at most four; 0 if only two do."""
        widest = max((panel.width for panel in self.panels), default=inf)
        return next((count for count in (4, 3) if widest <= _FITS[count]), 0)

    @property
    def starts(self) -> list[str]:
        """For each panel the classes that let it start a row: ``b3`` in a grid of 3 columns.

        Rows are as equal as they can be, so that no panel stands alone in the last one.
        """
        return [
            " ".join(f"b{k}" for k in (4, 3) if k <= self.across and n in _starts(count, k))
            for count in [len(self.panels)]
            for n in range(count)
        ]


def _starts(count: int, across: int) -> set[int]:
    """Return the places at which rows of at most ``across`` of ``count`` panels start."""
    rows = ceil(count / across)
    return {row * (count // rows) + min(row, count % rows) for row in range(rows)}
