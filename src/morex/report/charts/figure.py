"""Everything around the marks of a chart: message, note, legend and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.report.charts.svg import marker, picture, segment, stroke

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
    """One drawing of a figure, with a caption if there are several."""

    drawing: Markup
    caption: str = ""


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
