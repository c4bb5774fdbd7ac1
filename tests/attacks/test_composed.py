"""Which attack searches a ball, a transform, or one after the other."""

from dataclasses import dataclass
from typing import ClassVar, Self

import pytest
import torch
from linear import random_linear
from torch import Tensor

from morex.attacks import PGD, RandomNoise, SearchAround, WorstOfDraws
from morex.attacks.composed import attack_on, search_of
from morex.perturbations import L2, Around, Fog, Linf, Perturbation, Transform

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


def test_other_perturbations_raise():
    with pytest.raises(TypeError, match=r"a Ball, a Transform or Parametric, got Other\(\)"):
        search_of(Other(), noise)


def test_an_attack_on_a_composition_is_on_its_ball():
    assert attack_on(BALL, noise) == noise(BALL)
    assert attack_on(Around(FOG, BALL), PGD) == SearchAround(Around(FOG, BALL), PGD(BALL))


def test_it_costs_what_its_attack_costs():
    assert SearchAround(Around(FOG, BALL), PGD(BALL, steps=3)).passes == PGD(BALL, steps=3).passes


def test_an_attack_on_another_ball_raises():
    with pytest.raises(ValueError, match=r"searches L2\(eps=0.1\), expected Linf\(eps=0.1\)"):
        SearchAround(Around(FOG, BALL), noise(L2(0.1)))


@dataclass(frozen=True)
class Noise(Transform):
    """Mixes every image with noise drawn for it."""

    name: ClassVar[str] = "noise"

    def scaled(self, factor: float) -> Self:
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        return (x + torch.rand(x.shape, generator=generator, dtype=x.dtype)) / 2


def test_the_transform_draws_first_and_the_attack_goes_on_with_the_same_generator():
    model, x, y = random_linear(3, seed=0, count=30)
    attack, around = PGD(BALL, steps=3), Around(Noise(), BALL)
    generator = torch.Generator().manual_seed(2)
    centres = Noise()(x, generator=generator)
    expected = attack.search(model, centres, y, generator)
    found = SearchAround(around, attack)(model, x, y, generator=torch.Generator().manual_seed(2))
    assert torch.equal(found, expected)
    assert not torch.equal(found, centres)
