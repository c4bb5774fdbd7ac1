"""Heat maps: a number in every cell, legible without colour."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.report.charts.svg import element, picture, text

_ROW, _TOP = 28, 30
_LETTER = 6.6
_DARK = 0.55
"""From this value on the number in a cell is written in the light colour."""


@dataclass(frozen=True)
class Heat:
    """Values in [0, 1], None where there is none: rows x columns, with their names.

    ``aside`` has words at the end of every row, under the heading ``aside_title``; ``tip`` says
    what is shown on hover for a row, a column and a value.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    write: Callable[[float], str]
    tip: Callable[[str, str, float], str]
    aside: Sequence[str] = ()
    aside_title: str = ""
    cell: int = 62
    x_title: str = ""
    y_title: str = ""


def heat_chart(heat: Heat, description: str) -> Markup:
    """Return the heat map; a name that is wider than its column is slanted."""
    left = 14 + _LETTER * max(map(len, (*heat.rows, heat.y_title)))
    widest = max(map(len, heat.columns))
    slanted = _LETTER * widest > heat.cell + 4
    head = _TOP + (0.62 * _LETTER * widest - 8 if slanted else 0) + (16 if heat.x_title else 0)
    width = left + heat.cell * len(heat.columns) + (78 if heat.aside else 10)
    width += 0.7 * _LETTER * widest - heat.cell / 2 if slanted and not heat.aside else 0
    marks = [*_names(heat, left, head, slanted)]
    for j, (row, values) in enumerate(zip(heat.rows, heat.values, strict=True)):
        y = head + _ROW * j
        marks.append(text(left - 8, y + 19, row, anchor="end", class_="label"))
        for i, (column, value) in enumerate(zip(heat.columns, values, strict=True)):
            if value is not None:
                marks += _cell(heat, left + heat.cell * i, y, row, column, value)
        if heat.aside:
            x = left + heat.cell * len(heat.columns) + 10
            marks.append(text(x, y + 19, heat.aside[j], class_="label"))
    return picture(width, head + _ROW * len(heat.rows) + 6, description, *marks)


def _names(heat: Heat, left: float, head: float, slanted: bool) -> Iterator[Markup]:
    if heat.x_title:
        yield text(left, 12, heat.x_title, class_="axis")
    if heat.y_title:
        yield text(left - 8, head - 9, heat.y_title, anchor="end", class_="axis")
    for i, name in enumerate(heat.columns):
        x, y = left + heat.cell * (i + 0.5), head - 9
        if slanted:
            place = f"rotate(-40 {x:.1f} {y:.1f})"
            yield element("text", name, x=x - 4, y=y + 2, class_="label", transform=place)
        else:
            yield text(x, y, name, anchor="middle", class_="label")
    if heat.aside:
        x = left + heat.cell * len(heat.columns) + 10
        yield text(x, head - 9, heat.aside_title, class_="axis")


def _cell(heat: Heat, x: float, y: float, row: str, column: str, value: float) -> Iterator[Markup]:
    share = min(1.0, max(0.0, value))
    yield element(
        "rect",
        element("title", heat.tip(row, column, value)),
        x=x + 1,
        y=y + 1,
        width=heat.cell - 2,
        height=_ROW - 2,
        rx=3,
        class_="cell mark",
        fill_opacity=0.04 + 0.96 * share,
    )
    class_ = "value on" if share >= _DARK else "value"
    yield text(x + heat.cell / 2, y + 19, heat.write(value), anchor="middle", class_=class_)
