"""Scatter charts with named spots."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.core.units import round_number
from morex.report.charts.labels import (
    LINE,
    Box,
    Name,
    Placed,
    Point,
    beside_points,
    column_height,
    with_column,
)
from morex.report.charts.svg import (
    Scale,
    element,
    log_ticks,
    marker,
    nice_ticks,
    picture,
    segment,
    text,
    width_of,
)

_LEFT, _TOP, _BOTTOM, _HIGH = 44, 26, 40, 284
_SHARE = 0.4  # of the width, for names
_BESIDE = 18  # from the plot to the column of names
_APART = 44  # ticks are at least this far apart


@dataclass(frozen=True)
class Spot:
    """A named point; ``y`` is a share in [0, 1], and ``x`` is positive."""

    name: str
    series: str
    slot: int
    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class _Plot:
    """The scales, and the end of the picture on the right, where names may reach."""

    across: Scale
    up: Scale
    y_ticks: Sequence[float]
    end: float

    @classmethod
    def of(cls, spots: Sequence[Spot], right: float, end: float, high: float) -> "_Plot":
        xs, ys = [s.x for s in spots], [100 * s.y for s in spots]
        ticks = nice_ticks(min(ys) - 2, max(ys) + 2, 5)
        bottom, top = max(0.0, ticks[0]), min(100.0, ticks[-1])
        across = Scale((min(xs) / 1.15, max(xs) * 1.15), (_LEFT, right), log=True)
        shown = [t for t in ticks if bottom <= t <= top]
        return cls(across, Scale((bottom, top), (_TOP + high, _TOP)), shown, end)

    @property
    def room(self) -> Box:
        return _LEFT + 2, _TOP - 10, self.end, self.up.range[0] - 2

    def points(self, spots: Sequence[Spot]) -> list[Point]:
        return [(self.across(s.x), self.up(100 * s.y)) for s in spots]


def scatter_chart(
    spots: Sequence[Spot], description: str, *, x_title: str, y_title: str, width: int = 480
) -> Markup:
    """Return spots over a logarithmic x axis, with their names.

    No name covers another name or a spot. Where there is no room beside the spots, names stand in a
    column on the right.
    """
    plot, placed = _placed(spots, width)
    bottom, points = plot.up.range[0], plot.points(spots)
    middle = max(sum(plot.across.range) / 2, width_of(x_title) / 2)
    marks = [text(4, 13, y_title, class_="axis"), *_frame(plot)]
    marks.append(text(middle, bottom + _BOTTOM - 5, x_title, anchor="middle", class_="axis"))
    for spot, label in zip(spots, placed, strict=True):
        marks += _leader(spot, label)
    for spot, label, point in zip(spots, placed, points, strict=True):
        marks += _name(spot, label, point)
    for spot, (x, y) in zip(spots, points, strict=True):
        marks.append(marker(spot.slot, x, y, spot.tip, spot.series, 5.5))
    return picture(width, bottom + _BOTTOM, description, *marks)


def _placed(spots: Sequence[Spot], width: int) -> tuple[_Plot, list[Placed]]:
    names = [Name.of(spot.name, _SHARE * width) for spot in spots]
    plot = _Plot.of(spots, width - width / 8, width - 2, _HIGH)
    if placed := beside_points(names, plot.points(spots), plot.room):
        return plot, placed
    column = width - 4 - max(name.width for name in names)
    right, high = column - _BESIDE, max(_HIGH, column_height(names))
    plot = _Plot.of(spots, right, right + _BESIDE / 2, high)
    return plot, with_column(names, plot.points(spots), plot.room, column)


def _frame(plot: _Plot) -> Iterator[Markup]:
    (left, right), (bottom, top) = plot.across.range, plot.up.range
    for y in plot.y_ticks:
        yield segment(left, plot.up(y), right, plot.up(y), "grid")
        yield text(left - 6, plot.up(y) + 4, f"{y:g}%", anchor="end", class_="tick")
    for x in _x_ticks(plot.across):
        at = plot.across(x)
        yield text(at, bottom + 17, round_number(x), anchor="middle", class_="tick")
        yield segment(at, top, at, bottom, "grid faint")


def _x_ticks(across: Scale) -> Iterator[float]:
    """Yield round numbers on the axis that have room for their labels."""
    low, high = across.domain
    ticks = [*log_ticks(low, high)]
    if len(ticks) < 2:  # the axis is short: it is nearly linear
        ticks = [t for t in nice_ticks(low, high, 5) if low <= t <= high]
    last = -float(_APART)
    for tick in ticks:
        if across(tick) - last >= _APART:
            last = across(tick)
            yield tick


def _leader(spot: Spot, placed: Placed) -> Iterator[Markup]:
    if placed.leader:
        path = "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in placed.leader)
        yield element("path", d=path, class_="leader", data_series=spot.series)


def _name(spot: Spot, placed: Placed, point: Point) -> Iterator[Markup]:
    left, top, right, _ = placed.box
    x, anchor = (left + right) / 2, "middle"
    if left >= point[0]:
        x, anchor = left, "start"
    elif right <= point[0]:
        x, anchor = right, "end"
    for n, line in enumerate(placed.name.lines):
        y = top + LINE * (n + 1) - 3.5
        yield text(x, y, line, anchor=anchor, class_="label name", series=spot.series)
