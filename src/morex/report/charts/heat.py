"""Heat maps with text in every cell, so that they can be read without colour."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.report.charts.svg import element, picture, text, width_of

_TOP, _ASIDE = 30, 66
_DARK = 0.55
"""Cells with at least this share have light text."""


@dataclass(frozen=True)
class HeatCell:
    """A share in [0, 1], which sets how dark the cell is, its text, and the text shown on hover."""

    share: float
    words: str
    tip: str


@dataclass(frozen=True)
class Heat:
    """Cells (rows x columns, None is an empty one), with the names of rows and columns.

    ``aside`` is text at the end of every row, under the heading ``aside_title``; ``cell`` is the
    width and height of a cell.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[HeatCell | None]]
    aside: Sequence[str] = ()
    aside_title: str = ""
    cell: tuple[int, int] = (56, 28)
    x_title: str = ""
    y_title: str = ""


def heat_chart(heat: Heat, description: str) -> Markup:
    """Return the heat map; column names that are wider than a cell are slanted."""
    width, height, marks = heat_marks(heat)
    return picture(width, height, description, *marks)


def heat_marks(heat: Heat) -> tuple[float, float, list[Markup]]:
    """Return width and height of a heat map, and its marks."""
    (wide, high), widest = heat.cell, max(map(width_of, heat.columns))
    left = 14 + max(map(width_of, (*heat.rows, heat.y_title)))
    slanted = widest > wide + 2
    head = _TOP + (0.62 * widest - 8 if slanted else 0) + (16 if heat.x_title else 0)
    right = left + wide * len(heat.columns)
    marks = [*_names(heat, left, head, slanted)]
    for j, (row, cells) in enumerate(zip(heat.rows, heat.cells, strict=True)):
        y = head + high * j
        marks.append(text(left - 8, y + high / 2 + 4, row, anchor="end", class_="label"))
        for i, cell in enumerate(cells):
            if cell:
                marks += _cell(cell, left + wide * i, y, wide, high)
        if heat.aside:
            marks.append(text(right + 10, y + high / 2 + 4, heat.aside[j], class_="label"))
    beyond = max(_ASIDE if heat.aside else 10.0, 0.77 * widest - wide / 2 if slanted else 0.0)
    return right + beyond, head + high * len(heat.rows) + 6, marks


def _names(heat: Heat, left: float, head: float, slanted: bool) -> Iterator[Markup]:
    wide, y = heat.cell[0], head - 9
    if heat.x_title:
        yield text(left, 12, heat.x_title, class_="axis")
    if heat.y_title:
        yield text(left - 8, y, heat.y_title, anchor="end", class_="axis")
    for i, name in enumerate(heat.columns):
        x = left + wide * (i + 0.5)
        if slanted:
            place = f"rotate(-40 {x:.1f} {y:.1f})"
            yield element("text", name, x=x - 4, y=y + 2, class_="label", transform=place)
        else:
            yield text(x, y, name, anchor="middle", class_="label")
    if heat.aside:
        yield text(left + wide * len(heat.columns) + 10, y, heat.aside_title, class_="axis")


def _cell(cell: HeatCell, x: float, y: float, wide: int, high: int) -> Iterator[Markup]:
    yield element(
        "rect",
        element("title", cell.tip),
        x=x + 1,
        y=y + 1,
        width=wide - 2,
        height=high - 2,
        rx=3,
        class_="cell mark",
        fill_opacity=0.04 + 0.96 * min(1.0, max(0.0, cell.share)),
    )
    class_ = "value on" if cell.share >= _DARK else "value"
    yield text(x + wide / 2, y + high / 2 + 4, cell.words, anchor="middle", class_=class_)
