from dataclasses import replace
from typing import Any

import pytest
import torch
from digits_net import trained_net, unseen
from linear import Counting
from torch import Tensor

from morex.attacks import PGD, Attack, WorstOfDraws, frozen, search_slices
from morex.attacks.losses import OfLogits, margin
from morex.core.seeding import generator_for
from morex.perturbations import L1, L2, Clean, Fog, Linf

BALLS = (L2(0.7), Linf(0.1), L1(3.0))
THREE = tuple(PGD(ball, steps=3, restarts=1) for ball in BALLS)


def slices(*sizes: int) -> tuple[list[Tensor], list[Tensor]]:
    x, y = unseen(sum(sizes))
    return [*x.split(sizes)], [*y.split(sizes)]


def each(attacks: tuple[Attack, ...], xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
    """Search one after the other, with one generator."""
    generator = generator_for(3)
    net = trained_net()
    with frozen(net):
        return [a.search(net, x, y, generator) for a, x, y in zip(attacks, xs, ys, strict=True)]


def together(
    attacks: tuple[Attack, ...], xs: list[Tensor], ys: list[Tensor]
) -> tuple[list[Tensor], list[int]]:
    """Search all at once; also return how many images every call of the model got."""
    net = trained_net()
    with frozen(net):
        asked = Counting(net)
        found = search_slices(attacks, asked, xs, ys, generator_for(3))
    return found, asked.calls


def test_searches_in_different_balls_find_what_each_finds_by_itself() -> None:
    xs, ys = slices(12, 7, 5)
    found, calls = together(THREE, xs, ys)
    for moved, alone, ball, x in zip(found, each(THREE, xs, ys), BALLS, xs, strict=True):
        torch.testing.assert_close(moved, alone, rtol=0, atol=1e-4)  # kernels add differently
        assert (ball.norm(moved - x) <= ball.eps + 1e-6).all()
        assert (moved != x).any()
    assert calls == [24] * 4  # three steps and the last iterate, each for all images


def test_the_best_of_several_restarts_counts_for_every_slice() -> None:
    many = tuple(replace(attack, restarts=3, random_start=False) for attack in THREE)
    xs, ys = slices(6, 6, 6)
    found, calls = together(many, xs, ys)
    for moved, alone in zip(found, each(many, xs, ys), strict=True):
        torch.testing.assert_close(moved, alone, rtol=0, atol=1e-4)  # kernels add differently
    assert calls == [18] * 12


@pytest.mark.parametrize(
    "other",
    [
        {"steps": 4},
        {"relative_step": 3.0},
        {"restarts": 2},
        {"random_start": False},
        {"loss": OfLogits(margin)},
        {"perturbation": BALLS[:2]},
    ],
)
def test_searches_that_differ_in_more_than_their_ball_stay_apart(other: dict[str, Any]) -> None:
    attacks = (THREE[0], replace(THREE[1], **other))
    xs, ys = slices(5, 4)
    found, calls = together(attacks, xs, ys)
    for moved, alone in zip(found, each(attacks, xs, ys), strict=True):
        torch.testing.assert_close(moved, alone)
    assert 9 not in calls


def test_a_search_that_drops_images_stays_apart() -> None:
    attacks = tuple(replace(attack, stop_when_fooled=True) for attack in THREE[:2])
    _, calls = together(attacks, *slices(5, 4))
    assert max(calls) == 5


def test_transforms_and_searches_keep_their_places() -> None:
    attacks = (WorstOfDraws(Clean()), *THREE[:2], WorstOfDraws(Fog(t=0.15, light=0.6)), THREE[2])
    xs, ys = slices(3, 4, 5, 6, 7)
    found, calls = together(attacks, xs, ys)
    assert [len(moved) for moved in found] == [3, 4, 5, 6, 7]
    assert torch.equal(found[0], xs[0])
    assert torch.equal(found[3], Fog(t=0.15, light=0.6)(xs[3]))
    torch.testing.assert_close(found[4], each(attacks, xs, ys)[4], rtol=0, atol=1e-5)
    assert calls == [16] * 4
