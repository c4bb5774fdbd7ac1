"""Which attack searches a ball, a transform, or one after the other."""

from dataclasses import dataclass
from typing import Self

import pytest

from morex.attacks import PGD, RandomNoise, SearchAround, WorstOfDraws
from morex.attacks.composed import attack_on, search_of
from morex.perturbations import L2, Around, Fog, Linf, Perturbation

FOG, BALL = Fog(t=0.1, light=0.6), Linf(0.1)


def noise(ball):
    return RandomNoise(ball, draws=3)


@dataclass(frozen=True)
class Other(Perturbation):
    """Neither a ball nor a transform."""

    def scaled(self, factor: float) -> Self:
        return self


def test_a_ball_is_searched_and_a_transform_drawn_once():
    assert search_of(BALL, noise) == RandomNoise(BALL, draws=3)
    assert search_of(FOG, noise) == WorstOfDraws(FOG, draws=1)
    assert search_of(Around(FOG, BALL), noise) == SearchAround(
        Around(FOG, BALL), RandomNoise(BALL, draws=3)
    )


def test_what_is_neither_raises():
    with pytest.raises(TypeError, match=r"a Ball or a Transform, got Other\(\)"):
        search_of(Other(), noise)


def test_an_attack_on_a_composition_is_on_its_ball():
    assert attack_on(BALL, noise) == noise(BALL)
    assert attack_on(Around(FOG, BALL), PGD) == SearchAround(Around(FOG, BALL), PGD(BALL))


def test_it_costs_what_its_attack_costs():
    assert SearchAround(Around(FOG, BALL), PGD(BALL, steps=3)).passes == PGD(BALL, steps=3).passes


def test_an_attack_on_another_ball_raises():
    with pytest.raises(ValueError, match=r"searches L2\(eps=0.1\), expected Linf\(eps=0.1\)"):
        SearchAround(Around(FOG, BALL), noise(L2(0.1)))
