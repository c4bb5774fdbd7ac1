"""UpSet charts: the examples that several attacks break together (Lex et al. 2014)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from morex.core.units import plural
from morex.report.charts.svg import Scale, element, nice_ticks, picture, segment, text, width_of

_ROW, _STEP, _BARS, _SIZES = 22, 24, 120, 84


@dataclass(frozen=True)
class Overlap:
    """The number of examples that are in exactly these sets; no sets means in none."""

    sets: tuple[str, ...]
    count: int


def upset_chart(
    sizes: dict[str, int], overlaps: Sequence[Overlap], total: int, description: str
) -> Markup:
    """Return bars of the overlaps over a matrix of their sets, and a bar for every set's size."""
    left = _SIZES + 22 + max(map(width_of, sizes))
    top = _BARS + 34
    highest = max(o.count for o in overlaps)
    up = Scale((0, highest), (_BARS + 16, 20))
    marks = [text(left - 8, 12, "images", anchor="end", class_="axis")]
    for tick in (t for t in nice_ticks(0, highest, 3) if t <= highest):
        marks.append(segment(left, up(tick), left + _STEP * len(overlaps), up(tick), "grid"))
        marks.append(text(left - 8, up(tick) + 4, f"{tick:g}", anchor="end", class_="tick"))
    rows = {name: top + _ROW * (n + 0.5) for n, name in enumerate(sizes)}
    right = left + _STEP * len(overlaps)
    for name, y in rows.items():
        marks += _set_row(name, sizes[name], total, y, left, right)
    marks.append(text(_SIZES, top - 4, "broken", anchor="end", class_="axis"))
    for n, overlap in enumerate(overlaps):
        marks += _overlap(overlap, left + _STEP * (n + 0.5), up, rows)
    height = top + _ROW * len(sizes) + 8
    return picture(right + 12, height, description, *marks)


def _set_row(
    name: str, size: int, total: int, y: float, left: float, right: float
) -> Iterator[Markup]:
    yield text(left - 8, y + 4, name, anchor="end", class_="label")
    yield segment(left, y, right, y, "grid faint")
    width = (_SIZES - 34) * size / total
    tip = f"{name} breaks {size} of {total} images"
    yield element(
        "rect",
        element("title", tip),
        x=_SIZES - width,
        y=y - 7,
        width=max(width, 0.5),
        height=14,
        class_="mark bar quiet",
    )
    yield text(_SIZES - width - 4, y + 4, size, anchor="end", class_="tick")


def _overlap(overlap: Overlap, x: float, up: Scale, rows: dict[str, float]) -> Iterator[Markup]:
    broken_by = ", ".join(overlap.sets)
    fate = f"broken by {broken_by} and nothing else" if overlap.sets else "right under every attack"
    tip = f"{plural(overlap.count, 'image')} {fate}"
    y, base = up(overlap.count), up(0)
    class_ = "mark bar" if overlap.sets else "mark bar good"
    bar = element("title", tip)
    yield element("rect", bar, x=x - 8, y=y, width=16, height=max(base - y, 0.5), class_=class_)
    yield text(x, y - 4, overlap.count, anchor="middle", class_="tick")
    places = [rows[name] for name in overlap.sets]
    for name, place in rows.items():
        dot = "dot on" if name in overlap.sets else "dot"
        yield element("circle", cx=x, cy=place, r=5.5, class_=dot)
    if len(places) > 1:
        yield segment(x, min(places), x, max(places), "joint")
