"""Rows of dots with intervals: a few shares for each label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from morex.report.charts.labels import LINE, Name
from morex.report.charts.svg import Scale, colour, marker, picture, segment, text

_ROW, _TOP, _BOTTOM = 24, 8, 40
_SHARE = 0.4  # of the width, for names
_BOLD = 1.15  # how much wider bold text is
_NARROW = 200  # fewer ticks have room on an axis shorter than this


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
    names = [Name.of(row.label, _SHARE * width) for row in rows]
    bold = [_BOLD if row.strong else 1 for row in rows]
    left = 14 + max(name.width * wider for name, wider in zip(names, bold, strict=True))
    across = Scale((0, 1), (left, width - 18))
    heights = [max(_ROW, name.height + 6) for name in names]
    ends = [*accumulate(heights, initial=_TOP)]
    marks = [*_axis(across, ends[-1], title)]
    for row, name, high, end in zip(rows, names, heights, ends[1:], strict=True):
        marks += _row(row, name, across, end - high / 2)
    return picture(width, ends[-1] + _BOTTOM, description, *marks)


def _axis(across: Scale, bottom: float, title: str) -> Iterator[Markup]:
    left, right = across.range
    few = right - left < _NARROW
    for tick in (0, 0.5, 1) if few else (0, 0.2, 0.4, 0.6, 0.8, 1):
        yield segment(across(tick), _TOP, across(tick), bottom, "grid")
        yield text(across(tick), bottom + 15, f"{100 * tick:.0f}%", anchor="middle", class_="tick")
    yield text((left + right) / 2, bottom + 33, title, anchor="middle", class_="axis")


def _row(row: DotRow, name: Name, across: Scale, y: float) -> Iterator[Markup]:
    class_ = "label strong" if row.strong else "label"
    for n, line in enumerate(name.lines):
        at = y + 4 + LINE * (n - (len(name.lines) - 1) / 2)
        yield text(across.range[0] - 10, at, line, anchor="end", class_=class_)
    yield segment(across(0), y, across(1), y, "grid faint")
    for dot in row.dots:
        if dot.interval:
            low, high = (across(end) for end in dot.interval)
            yield segment(low, y, high, y, f"interval {colour(dot.slot)}", series=dot.series)
    for dot in row.dots:
        yield marker(dot.slot, across(dot.value), y, dot.tip, dot.series, 5)
