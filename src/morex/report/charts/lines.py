"""Line charts with markers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.report.charts.labels import LINE, Name
from morex.report.charts.svg import (
    Scale,
    element,
    marker,
    nice_ticks,
    picture,
    segment,
    stroke,
    text,
)

_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 24, 38


@dataclass(frozen=True)
class Line:
    """A series: its name, its slot, and points (x, y, the text shown on hover)."""

    name: str
    slot: int
    points: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class LineAxes:
    """Titles, ranges and ticks of the axes, and the size; ``rule`` marks an x with a label."""

    x_title: str
    y_title: str
    y: tuple[float, float]
    x_ticks: Sequence[float] = ()
    rule: tuple[float, str] | None = None
    width: int = 350
    height: int = 230
    unit: str = ""


def line_chart(lines: Sequence[Line], axes: LineAxes, description: str) -> Markup:
    """Return lines over a grid whose x axis starts at 0."""
    last = max(x for line in lines for x, _, _ in line.points)
    ticks = [*axes.x_ticks] or [t for t in nice_ticks(0, last, 4) if t <= last]
    across = Scale((0, max(last, *ticks)), (_LEFT + 6, axes.width - _RIGHT))
    up = Scale(axes.y, (axes.height - _BOTTOM, _TOP))
    marks = [mark for line in lines for mark in _marks(line, across, up)]
    frame = [*_frame(axes, ticks, across, up)]
    title = Name.of(axes.x_title, 1.15 * (axes.width - _LEFT - 8))
    frame += _x_title(title, (_LEFT + axes.width - _RIGHT) / 2, axes.height - 5)
    height = axes.height + title.height - LINE
    return picture(axes.width, height, description, *frame, *marks)


def _x_title(title: Name, middle: float, y: float) -> Iterator[Markup]:
    for n, line in enumerate(title.lines):
        yield text(middle, y + LINE * n, line, anchor="middle", class_="axis")


def _frame(axes: LineAxes, ticks: Sequence[float], across: Scale, up: Scale) -> Iterator[Markup]:
    yield text(4, 13, axes.y_title, class_="axis")
    for y in nice_ticks(*axes.y, 5 if axes.height > 200 else 3):
        if axes.y[0] <= y <= axes.y[1]:
            yield segment(_LEFT, up(y), axes.width - _RIGHT, up(y), "grid")
            yield text(_LEFT - 5, up(y) + 4, f"{y:g}{axes.unit}", anchor="end", class_="tick")
    for x in ticks:
        yield text(across(x), axes.height - _BOTTOM + 16, f"{x:g}", anchor="middle", class_="tick")
    if axes.rule:
        at, words = axes.rule
        yield segment(across(at), _TOP - 18, across(at), axes.height - _BOTTOM, "rule")
        yield text(across(at) + 4, _TOP - 9, words, class_="tick")


def _marks(line: Line, across: Scale, up: Scale) -> Iterator[Markup]:
    places = [(across(x), up(y)) for x, y, _ in line.points]
    path = "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield element("path", d=path, class_=stroke(line.slot), data_series=line.name)
    size = 3.8 if len(places) <= 12 else 2.2
    for (x, y), (_, _, tip) in zip(places, line.points, strict=True):
        yield marker(line.slot, x, y, tip, line.name, size)
