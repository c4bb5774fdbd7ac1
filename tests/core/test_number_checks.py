import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from morex.core.number_checks import check_numbers


@dataclass(frozen=True)
class Settings:
    count: int = 1
    share: float = 0.5
    on: bool = False
    limit: float | None = None
    places: tuple[tuple[float, float], ...] = ()
    pair: tuple[int, float] = (1, 0.5)
    name: str | int = "any"


@pytest.mark.parametrize(
    "right",
    [
        {"count": np.int64(3), "share": np.float32(0.5)},
        {"share": 1, "limit": 2, "places": ((0, 1), (0.5, 2))},
        {"limit": None, "places": [[0, 1]]},
        {"name": math.nan},  # text or a number: not checked
        {"on": True},
    ],
)
def test_right_numbers_pass(right: dict[str, Any]) -> None:
    check_numbers(Settings(**right))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": True}, "Settings: count must be a whole number, got True"),
        ({"count": 1.0}, "Settings: count must be a whole number, got 1.0"),
        ({"share": False}, "Settings: share must be a number, got False"),
        ({"share": np.float32("nan")}, "Settings: share must be a finite number, got "),
        ({"share": 10**400}, "Settings: share must be a finite number, got 1000"),
        ({"on": 1}, "Settings: on must be True or False, got 1"),
        ({"on": None}, "Settings: on must be True or False, got None"),
        ({"limit": math.inf}, "Settings: limit must be a finite number, or None, got inf"),
        ({"limit": "2"}, "Settings: limit must be a number, or None, got '2'"),
        ({"places": ((0, 1), (0, math.nan))}, "Settings: places must be a tuple, each part "),
        ({"pair": (1.5, 0.5)}, "Settings: pair must be a tuple, each part a whole number"),
        ({"pair": (1, math.inf)}, "Settings: pair must be a tuple, each part a finite number"),
    ],
)
def test_wrong_numbers_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_numbers(Settings(**wrong))


def test_a_field_may_be_infinite_but_never_nan() -> None:
    check_numbers(Settings(share=-math.inf), infinite=("share",))
    with pytest.raises(ValueError, match="share must be a finite number, got nan"):
        check_numbers(Settings(share=math.nan), infinite=("share",))
    with pytest.raises(ValueError, match="limit"):
        check_numbers(Settings(limit=math.inf), infinite=("share",))


def test_annotations_that_cannot_be_evaluated_are_left_alone() -> None:
    @dataclass(frozen=True)
    class Theirs:
        count: "Missing"  # type: ignore[name-defined]  # noqa: F821

    check_numbers(Theirs("anything"))
