"""Names of points: placed without covering anything, for points as awkward as they come."""

from collections.abc import Callable
from itertools import combinations, pairwise
from math import hypot

import numpy as np
import pytest

from morex.report.charts import PHONE, Spot, scatter_chart
from morex.report.charts.labels import Box, Name, Placed, Point, beside_points, with_column

ROOM: Box = (40.0, 20.0, 300.0, 320.0)
COLUMN = 330.0
LONG = "A mixture of everything + rain + rotation + contrast"


def line(n: int, step: float) -> list[Point]:
    return [(150 + step * i, 150 + step * i / 2) for i in range(n)]


def cloud(n: int, seed: int) -> list[Point]:
    rng = np.random.default_rng(seed)
    return [(float(x), float(y)) for x, y in rng.uniform((45, 25), (295, 315), (n, 2))]


PLACES: dict[str, list[Point]] = {
    "one": [(150.0, 150.0)],
    "the same": line(15, 0),
    "nearly the same": line(15, 0.5),
    "in a row": line(15, 4),
    "one above the other": [(150.0, 60.0 + 12 * i) for i in range(15)],
    "side by side": [(60.0 + 12 * i, 150.0) for i in range(15)],
    "at the corners": [(40.0, 20.0), (300.0, 20.0), (40.0, 320.0), (300.0, 320.0)],
    **{f"cloud {seed}": cloud(18, seed) for seed in range(8)},
}


def covers(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def distance(box: Box, point: Point) -> float:
    dx = max(box[0] - point[0], 0, point[0] - box[2])
    dy = max(box[1] - point[1], 0, point[1] - box[3])
    return hypot(dx, dy)


def along(leader: tuple[Point, ...]) -> list[Point]:
    """Return many points of a line with corners."""
    share = np.linspace(0, 1, 400)[:, None]
    parts = [np.array(a) + share * (np.array(b) - np.array(a)) for a, b in pairwise(leader)]
    return [(float(x), float(y)) for x, y in np.concatenate(parts)] if parts else []


def check(placed: list[Placed], points: list[Point]) -> None:
    for a, b in combinations(placed, 2):
        assert not covers(a.box, b.box)
    for i, label in enumerate(placed):
        others = [point for j, point in enumerate(points) if j != i]
        assert min((distance(label.box, point) for point in others), default=99) > 5
        if label.leader:
            assert label.leader[0] == points[i]
            assert label.box[0] == COLUMN
            y = label.leader[-1][1]
            assert label.box[1] < y < label.box[3]
        else:  # then the nearest point is the one that it names
            near = distance(label.box, points[i])
            assert near <= 15
            assert all(distance(label.box, point) > near for point in others)
            assert ROOM[0] <= label.box[0]
            assert label.box[2] <= ROOM[2]
        for other in placed:
            struck = [p for p in along(other.leader) if distance(label.box, p) == 0]
            assert not struck


@pytest.mark.parametrize("words", ["m{}", "MoRE+ (all) {}", LONG + " {}"])
@pytest.mark.parametrize("kind", PLACES)
def test_names_cover_nothing_and_stand_at_their_points(kind: str, words: str) -> None:
    points = PLACES[kind]
    names = [Name.of(words.format(i), 150) for i in range(len(points))]
    high = sum(name.height + 2 for name in names)
    room = (*ROOM[:3], max(ROOM[3], ROOM[1] + high))
    placed = with_column(names, points, room, COLUMN)
    assert [label.name for label in placed] == names
    check(placed, points)
    assert all(room[1] - 0.01 <= p.box[1] and p.box[3] <= room[3] + 0.01 for p in placed)
    if beside := beside_points(names, points, ROOM):
        assert not any(label.leader for label in beside)
        check(beside, points)


def test_names_with_room_stay_beside_their_points() -> None:
    points = [(100.0, 60.0), (100.0, 160.0), (100.0, 260.0)]
    names = [Name.of(words, 150) for words in "abc"]
    placed = beside_points(names, points, ROOM)
    assert placed
    assert [label.box[0] for label in placed] == [110.0] * 3
    assert beside_points(names, line(3, 0), ROOM) is None


def test_lines_are_not_led_through_the_points_of_others_where_that_can_be_avoided() -> None:
    points = [(100.0, 150.0), (280.0, 156.0)]
    names = [Name.of("twenty-three letters wide", 300)] * 2
    placed = with_column(names, points, (95.0, 20.0, 290.0, 320.0), COLUMN)
    assert all(label.leader for label in placed)
    assert placed[1].box[3] < placed[0].box[1]  # although its point is the lower one
    assert not [p for p in along(placed[0].leader) if hypot(p[0] - 280, p[1] - 156) < 6]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("MoRE", ("MoRE",)),
        ("", ("",)),
        ("one two three four", ("one two", "three", "four")),
        ("abcdefghijkl", ("abcdefg", "hijkl")),
        ("one abcdefghijkl", ("one", "abcdefg", "hijkl")),
        ("one two three four five six seven and the end", ("one two", "three", "…he end")),
    ],
)
def test_long_names_are_broken_and_keep_their_end(words: str, lines: tuple[str, ...]) -> None:
    name = Name.of(words, 56)
    assert name.lines == lines
    assert name.width <= 56
    assert name.height == 14 * len(lines)


AWKWARD: dict[str, Callable[[], list[Spot]]] = {
    "near": lambda: [spot(f"model {i} (all)", 1000 + 3 * i, 0.7 + i / 2000) for i in range(15)],
    "same": lambda: [spot(f"model {i}", 1000, 0.7) for i in range(15)],
    "long": lambda: [spot(f"{LONG} {i}", 1000 + 70 * i * i, 0.3 + i / 50) for i in range(15)],
    "passes": lambda: [spot(f"model {i}", 1000, 0.3 + i / 25) for i in range(15)],
    "one": lambda: [spot(LONG, 1000, 0.3)],
    "capitals": lambda: [spot("W" * 90 + str(i), 1000 * (i + 1), 0.3) for i in range(3)],
    "wide": lambda: [spot(f"m{i}", 10.0**i, 1 - i / 12) for i in range(12)],
    "ends": lambda: [spot("none", 1, 0.0), spot("all", 1e9, 1.0)],
}


def spot(name: str, x: float, y: float) -> Spot:
    return Spot(name, "s", 0, x, y, f"{name} at {x}")


def awkward(width: int) -> dict[str, str]:
    """Return drawings of awkward spots by name."""
    return {
        kind: scatter_chart(
            spots(),
            f"{kind} at width {width}",
            x_title="training passes, including those of ancestors",
            y_title="mean accuracy over the rows",
            width=width,
        )
        for kind, spots in AWKWARD.items()
    }


@pytest.mark.parametrize("width", [480, PHONE])
def test_every_awkward_spot_is_named_once(width: int) -> None:
    for kind, drawing in awkward(width).items():
        assert drawing.count('class="mark') == len(AWKWARD[kind]())
        assert drawing.count("label name") >= len(AWKWARD[kind]())
        assert f'width="{width}"' in drawing
