"""Scatter charts with named spots."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.core.units import round_number
from morex.report.charts.svg import (
    Scale,
    log_ticks,
    marker,
    nice_ticks,
    picture,
    segment,
    text,
    width_of,
)

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 350, 44, 64, 26, 40
_LINE = 12.0

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Spot:
    """A named point; ``y`` is a share in [0, 1], and ``x`` is positive."""

    name: str
    series: str
    slot: int
    x: float
    y: float
    tip: str


def scatter_chart(spots: Sequence[Spot], description: str, *, x_title: str, y_title: str) -> Markup:
    """Return spots over a logarithmic x axis, with names that do not cover each other."""
    xs, ys = [s.x for s in spots], [100 * s.y for s in spots]
    y_ticks = nice_ticks(min(ys) - 2, max(ys) + 2, 5)
    bottom, top = max(0.0, y_ticks[0]), min(100.0, y_ticks[-1])
    low, high = min(xs) / 1.15, max(xs) * 1.15
    across = Scale((low, high), (_LEFT, _WIDTH - _RIGHT), log=True)
    up = Scale((bottom, top), (_HEIGHT - _BOTTOM, _TOP))
    marks = [text(4, 13, y_title, class_="axis")]
    for y in (t for t in y_ticks if bottom <= t <= top):
        marks.append(segment(_LEFT, up(y), _WIDTH - _RIGHT, up(y), "grid"))
        marks.append(text(_LEFT - 6, up(y) + 4, f"{y:g}%", anchor="end", class_="tick"))
    for x in log_ticks(low, high):
        marks.append(
            text(across(x), _HEIGHT - _BOTTOM + 17, round_number(x), anchor="middle", class_="tick")
        )
        marks.append(segment(across(x), _TOP, across(x), _HEIGHT - _BOTTOM, "grid faint"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    marks.append(text(middle, _HEIGHT - 5, x_title, anchor="middle", class_="axis"))
    marks += _named(spots, [(across(s.x), up(100 * s.y)) for s in spots])
    return picture(_WIDTH, _HEIGHT, description, *marks)


def _named(spots: Sequence[Spot], places: Sequence[tuple[float, float]]) -> Iterator[Markup]:
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for spot, (x, y) in zip(spots, places, strict=True):
        words = _label_box(spot.name, x, y, taken)
        taken.append(words)
        yield text(words[0], words[3] - 3, spot.name, class_="label", series=spot.series)
    for spot, (x, y) in zip(spots, places, strict=True):
        yield marker(spot.slot, x, y, spot.tip, spot.series, 5.5)


def _label_box(name: str, x: float, y: float, taken: Sequence[Box]) -> Box:
    """Return the first place around a spot where its name covers nothing, else the first."""
    width = width_of(name)
    beside = [(x + 10, y - 6), (x - 10 - width, y - 6)]
    for away in (0, 10, 20):  # ever farther above and below
        for left in (x - width / 2, x + 9, x - 9 - width):
            beside += [(left, y - 21 - away), (left, y + 9 + away)]
    boxes = [(left, top, left + width, top + _LINE) for left, top in beside]
    inside = [b for b in boxes if b[0] > _LEFT and b[2] < _WIDTH - 2 and b[1] > 14] or boxes
    return next((b for b in inside if not any(_cover(b, t) for t in taken)), inside[0])


def _cover(a: Box, b: Box) -> bool:
    return a[0] - 4 < b[2] and b[0] - 4 < a[2] and a[1] < b[3] and b[1] < a[3]
