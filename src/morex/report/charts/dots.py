"""Rows of dots with intervals: a few shares for each label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.report.charts.svg import Scale, colour, marker, picture, segment, text, width_of

_ROW, _TOP, _BOTTOM = 24, 8, 40


@dataclass(frozen=True)
class Dot:
    """A share in [0, 1], its interval if it has one, and the text shown on hover."""

    series: str
    slot: int
    value: float
    tip: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class DotRow:
    """A label and its dots."""

    label: str
    dots: Sequence[Dot]
    strong: bool = False


def dot_chart(rows: Sequence[DotRow], description: str, *, title: str, width: int = 460) -> Markup:
    """Return a row of dots for each label over an axis from 0 to 100%."""
    left = 14 + max(width_of(row.label) for row in rows)
    across = Scale((0, 1), (left, width - 18))
    bottom = _TOP + _ROW * len(rows)
    marks: list[Markup] = []
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        marks.append(segment(across(tick), _TOP, across(tick), bottom, "grid"))
        label = f"{100 * tick:.0f}%"
        marks.append(text(across(tick), bottom + 15, label, anchor="middle", class_="tick"))
    marks.append(text((left + width - 18) / 2, bottom + 33, title, anchor="middle", class_="axis"))
    for n, row in enumerate(rows):
        marks += _row(row, across, _TOP + _ROW * (n + 0.5))
    return picture(width, bottom + _BOTTOM, description, *marks)


def _row(row: DotRow, across: Scale, y: float) -> Iterator[Markup]:
    class_ = "label strong" if row.strong else "label"
    yield text(across.range[0] - 10, y + 4, row.label, anchor="end", class_=class_)
    yield segment(across(0), y, across(1), y, "grid faint")
    for dot in row.dots:
        if dot.interval:
            low, high = (across(end) for end in dot.interval)
            yield segment(low, y, high, y, f"interval {colour(dot.slot)}", series=dot.series)
    for dot in row.dots:
        yield marker(dot.slot, across(dot.value), y, dot.tip, dot.series, 5)
