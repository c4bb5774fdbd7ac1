"""Names of points: none on another name, on a point, or nearer to a point that it does not name.

A name is beside its point where there is room. The others stand in a column on the right, in the
order of their points, each joined to its point by a line.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from math import hypot

from morex.report.charts.svg import width_of

LINE = 14.0
"""Height of a line of text."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_MARK = 8.0  # half of a mark's size, with a margin
_GAP = 10.0  # from the centre of a mark to a name beside it
_NEARER = 3.0  # a name is nearer to its point than to any other, by at least this much
_ELBOW = 12.0  # the last, horizontal part of a line that joins a name
_MOST_LINES = 3


@dataclass(frozen=True)
class Name:
    """A name on one or more lines."""

    lines: tuple[str, ...]

    @classmethod
    def of(cls, words: str, width: float) -> "Name":
        """Break a name into lines of at most this width: three at most, the last with its end."""
        lines = _lines(words, width)
        if len(lines) > _MOST_LINES:
            lines = [*lines[: _MOST_LINES - 1], "…" + _end(words.rstrip(), width - width_of("…"))]
        return cls(tuple(lines))

    @property
    def width(self) -> float:
        """The width of its widest line."""
        return max(map(width_of, self.lines))

    @property
    def height(self) -> float:
        """The height of all its lines."""
        return LINE * len(self.lines)


@dataclass(frozen=True)
class Placed:
    """A name, the box that it fills, and the corners of the line to it: none beside its point."""

    name: Name
    box: Box
    leader: tuple[Point, ...] = ()


def _lines(words: str, width: float) -> list[str]:
    """Break at spaces, and inside words that are too wide for a line."""
    lines = [""]
    for word in words.split():
        rest = f"{lines[-1]} {word}" if lines[-1] else word
        if width_of(rest) > width and lines[-1]:
            rest = word
        else:
            lines.pop()
        while width_of(rest) > width and len(rest) > 1:
            fits = _fits(rest, width)
            lines.append(rest[:fits])
            rest = rest[fits:]
        lines.append(rest)
    return lines


def _fits(words: str, width: float) -> int:
    """Return how many letters fit into a width, at least one."""
    widths = accumulate(map(width_of, words))
    return max(1, sum(end <= width for end in widths))


def _end(words: str, width: float) -> str:
    return words[len(words) - _fits(words[::-1], width) :]


def beside_points(names: Sequence[Name], points: Sequence[Point], room: Box) -> list[Placed] | None:
    """Place every name beside its point, inside ``room``; return None if there is no way found."""
    found = _beside(names, points, room, (), ())
    return [found[i] for i in range(len(names))] if len(found) == len(names) else None


def with_column(
    names: Sequence[Name], points: Sequence[Point], room: Box, left: float
) -> list[Placed]:
    """Place the names beside their points, those without room there in a column.

    Args:
        names: the names.
        points: their points.
        room: where names beside points may be; the column is as high, and can hold all names.
        left: where the column begins, right of all points.
    """
    out: set[int] = set()
    while True:  # each round moves at least one more name into the column
        column = _column(names, points, sorted(out), room, left)
        leaders = [placed.leader for placed in column.values()]
        found = _beside(names, points, room, out, leaders) | column
        missing = {*range(len(names))} - found.keys()
        if not missing:
            return [found[i] for i in range(len(names))]
        out |= missing


def column_height(names: Sequence[Name]) -> float:
    """Return how high a column of names is."""
    return sum(name.height + 2 for name in names)


def _beside(
    names: Sequence[Name],
    points: Sequence[Point],
    room: Box,
    without: Collection[int],
    leaders: Sequence[Sequence[Point]],
) -> dict[int, Placed]:
    """Return the names that have room beside their points, the most cramped ones placed first."""
    possible = {
        i: [box for box in _around(name, points[i]) if _is_free(box, i, points, room, leaders)]
        for i, name in enumerate(names)
        if i not in without
    }
    found: dict[int, Placed] = {}
    for i in sorted(possible, key=lambda i: len(possible[i])):
        free = (b for b in possible[i] if not any(_cover(b, p.box) for p in found.values()))
        if box := next(free, None):
            found[i] = Placed(names[i], box)
    return found


def _around(name: Name, point: Point) -> Iterator[Box]:
    """Yield the boxes around a point, the best one first."""
    (x, y), wide, high = point, name.width, name.height
    level, right, left = y - high / 2, x + _GAP, x - _GAP - wide
    above, below, middle = y - _GAP - high, y + _GAP, x - wide / 2
    corners = ((right, level), (left, level), (middle, above), (middle, below))
    for x0, y0 in (*corners, (right, above), (right, below), (left, above), (left, below)):
        yield x0, y0, x0 + wide, y0 + high


def _is_free(
    box: Box, own: int, points: Sequence[Point], room: Box, leaders: Sequence[Sequence[Point]]
) -> bool:
    inside = room[0] <= box[0] and room[1] <= box[1] and box[2] <= room[2] and box[3] <= room[3]
    if not inside or any(_crosses(box, leader) for leader in leaders):
        return False
    near = _distance(box, points[own]) + _NEARER
    others = [point for i, point in enumerate(points) if i != own]
    return not any(_distance(box, p) < near or _cover(box, _mark(p)) for p in others)


def _column(
    names: Sequence[Name], points: Sequence[Point], chosen: Sequence[int], room: Box, left: float
) -> dict[int, Placed]:
    """Stack names in the order of their points, neighbours swapped where that untangles lines."""
    order = sorted(chosen, key=lambda i: (points[i][1], points[i][0]))
    best = _stacked(names, points, order, room, left)
    for n in [*range(len(order) - 1)] * 2:
        swapped = [*order[:n], order[n + 1], order[n], *order[n + 2 :]]
        other = _stacked(names, points, swapped, room, left)
        if _tangles(other, points) < _tangles(best, points):
            order, best = swapped, other
    return best


def _stacked(
    names: Sequence[Name], points: Sequence[Point], order: Sequence[int], room: Box, left: float
) -> dict[int, Placed]:
    """Stack names in a given order, as near to the height of their points as they can be."""
    tops: list[float] = []
    end = room[1]
    for i in order:
        tops.append(max(end, points[i][1] - names[i].height / 2))
        end = tops[-1] + names[i].height + 2
    limit = room[3]
    for n in reversed(range(len(order))):  # what is too low moves up, and pushes what is above
        tops[n] = min(tops[n], limit - names[order[n]].height)
        limit = tops[n] - 2
    placed = zip(order, tops, strict=True)
    return {i: _joined(names[i], points[i], left, top) for i, top in placed}


def _joined(name: Name, point: Point, left: float, top: float) -> Placed:
    box, y = (left, top, left + name.width, top + name.height), top + name.height / 2
    return Placed(name, box, (point, (left - _ELBOW, y), (left - 3, y)))


def _tangles(placed: Mapping[int, Placed], points: Sequence[Point]) -> int:
    """Return how often lines pass through marks of others, and cross each other."""
    through = sum(
        points[i] != points[j] and _crosses(_mark(points[j]), one.leader)
        for i, one in placed.items()
        for j in range(len(points))
    )
    pairs = combinations(placed.values(), 2)
    return 3 * through + sum(_swap(one.leader, other.leader) for one, other in pairs)


def _swap(one: Sequence[Point], other: Sequence[Point]) -> bool:
    """Return whether two lines to the column cross: their order differs where both have begun."""
    start = max(one[0][0], other[0][0])
    before = _height(one, start) - _height(other, start)
    return before * (one[1][1] - other[1][1]) < 0


def _height(line: Sequence[Point], x: float) -> float:
    """Return the y of the first part of a line at x."""
    (x0, y0), (x1, y1), *_ = line
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def _mark(point: Point) -> Box:
    x, y = point
    return x - _MARK, y - _MARK, x + _MARK, y + _MARK


def _distance(box: Box, point: Point) -> float:
    """Return how far a point is from a box, 0 inside."""
    (x, y), (left, top, right, bottom) = point, box
    return hypot(max(left - x, 0.0, x - right), max(top - y, 0.0, y - bottom))


def _cover(a: Box, b: Box) -> bool:
    return a[0] - 4 < b[2] and b[0] - 4 < a[2] and a[1] < b[3] and b[1] < a[3]


def _crosses(box: Box, line: Sequence[Point]) -> bool:
    return any(_meets(box, *ends) for ends in pairwise(line))


def _meets(box: Box, start: Point, end: Point) -> bool:
    """Return whether a straight line passes through a box: by its parameters in both slabs."""
    low, high = 0.0, 1.0
    for axis in (0, 1):
        step = end[axis] - start[axis]
        if not step:
            if not box[axis] < start[axis] < box[axis + 2]:
                return False
            continue
        ends = sorted((box[axis + side] - start[axis]) / step for side in (0, 2))
        low, high = max(low, ends[0]), min(high, ends[1])
    return low < high
