"""Objects as plain values."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import pytest

from morex.core.plain import first_difference, plain


@dataclass(frozen=True)
class Inner:
    eps: float


@dataclass(frozen=True)
class Outer:
    ball: Inner | tuple[Inner, ...]
    steps: int = 3


class Own:
    def __init__(self) -> None:
        self.level = 2


def test_objects_become_their_parts() -> None:
    assert plain(Outer((Inner(0.5), Inner(float("inf"))))) == {
        "kind": "Outer",
        "ball": [{"kind": "Inner", "eps": 0.5}, {"kind": "Inner", "eps": "inf"}],
        "steps": 3,
    }
    assert plain(Own()) == {"kind": "Own", "level": 2}
    assert plain(partial(max, 1)) == {"kind": "builtins.max", "args": [1]}
    assert plain({"b", "a"}) == ["a", "b"]


def test_a_class_that_computes_something_else_is_another_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = plain(Outer(Inner(0.5)))
    monkeypatch.setattr(Inner, "revision", 2, raising=False)
    kinds = "Inner", "Inner (revision 2)"
    found = first_difference(before, plain(Outer(Inner(0.5))))
    assert found is not None
    assert tuple(part["kind"] for part in found[1:]) == kinds


def test_every_process_says_the_same() -> None:
    code = (
        "import json; from morex.attacks import *; from morex.perturbations import *; "
        "from morex.core.plain import plain; "
        "print(json.dumps([plain(PGD(Linf(8 / 255))), plain(GateSteering(L2(1.0))),"
        "plain(WorstOfDraws(compose(Fog(float('-inf'), 0.5), Snow(2.0)), 3))]))"
    )
    command = [sys.executable, "-c", code]
    first, second = (subprocess.check_output(command, text=True) for _ in range(2))
    assert first == second
    assert "0x" not in first
    assert len(json.loads(first)) == 3


@pytest.mark.parametrize(
    ("other", "place", "values"),
    [
        (Outer(Inner(0.25)), "ball.eps", (0.5, 0.25)),
        (Outer(Inner(0.5), 4), "steps", (3, 4)),
        (Inner(0.5), "", None),
    ],
)
def test_the_first_difference_is_named(other: object, place: str, values: object) -> None:
    found = first_difference(plain(Outer(Inner(0.5))), plain(other))
    assert found is not None
    assert found[0] == place
    assert values is None or found[1:] == values


def test_what_only_one_has_is_passed_over() -> None:
    one, two = plain(Outer(Inner(0.5))), plain(Outer(Inner(0.5)))
    del two["steps"]
    assert first_difference(one, two) is first_difference(two, one) is None
