"""Targeted PGD: targets are chosen once, on the clean images, and kept."""

from dataclasses import replace

import pytest
import torch
from linear import Counting, right
from torch import Tensor, nn

from morex.attacks import PGD, OfLogits, Targeted
from morex.attacks.losses import margin
from morex.evaluation.feasibility import check_feasible
from morex.perturbations import Linf

BALL = Linf(0.15)
STRONG = PGD(BALL, steps=30, relative_step=2, random_start=False, stop_when_fooled=True)


class DeadEnd(nn.Module):
    """Classes over the brightness u - 0.5 of an image of one pixel; class 0 has the logit 0.

    Class 1 is the likeliest wrong class at u = 0, grows throughout, and wins from 0.091 on. Class 2
    soon overtakes it, but peaks below 0 at 0.03: a search for the likeliest wrong class of the
    moment turns back there.
    """

    def forward(self, x: Tensor) -> Tensor:
        u = x.flatten(1)[:, 0] - 0.5
        climbs, peaks = 11 * u - 1, -0.2 - torch.where(u < 0.03, 40, 2) * (u - 0.03).abs()
        return torch.stack([0 * u, climbs, peaks, 0 * u - 9], 1)


def one_pixel(count: int = 3) -> tuple[Tensor, Tensor]:
    return torch.full((count, 1, 1, 1), 0.5), torch.zeros(count, dtype=torch.int64)


def test_a_target_is_kept_where_another_class_overtakes_it() -> None:
    model, (x, y) = DeadEnd(), one_pixel()
    assert model(x)[0].argsort(descending=True).tolist() == [0, 1, 2, 3]
    untargeted = replace(STRONG, loss=OfLogits(margin))
    assert right(model, untargeted(model, x, y), y).all()  # it turns back at the dead end
    moved = Targeted(STRONG, rank=1)(model, x, y)
    assert (model(moved).argmax(1) == 1).all()
    check_feasible(BALL, x, moved, "targeted")


@pytest.mark.parametrize(("rank", "best"), [(1, 0.65), (2, 0.53), (3, 0.5), (99, 0.5)])
def test_the_rank_decides_the_target(rank: int, best: float) -> None:
    model, (x, y) = DeadEnd(), one_pixel()
    attack = replace(STRONG, stop_when_fooled=False)
    moved = Targeted(attack, rank)(model, x, y)  # the last class, flat, for ranks above 3
    torch.testing.assert_close(moved, torch.full_like(x, best))


class OwnPixel(nn.Module):
    """Class k wins where pixel k is above 0.9; class 0 otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1)
        return torch.cat([0 * pixels[:, :1], pixels - 0.9], 1)


@pytest.mark.parametrize("restarts", [1, 3])
def test_every_example_keeps_its_own_target_while_others_drop_out(restarts: int) -> None:
    x = torch.full((6, 3), 0.3)
    targets = torch.tensor([2, 0, 1, 1, 2, 0])
    levels = torch.tensor([0.7, 0.89, 0.7, 0.8, 0.85, 0.6])
    x[torch.arange(6), targets] = levels
    x, y = x.view(6, 1, 1, 3), torch.zeros(6, dtype=torch.int64)
    model = OwnPixel()
    asked = Counting(model)
    attack = replace(STRONG, restarts=restarts)
    moved = Targeted(attack)(asked, x, y)
    fallen = levels > 0.9 - BALL.eps  # one after the other
    assert torch.equal(~right(model, moved, y), fallen)
    assert (model(moved).argmax(1)[fallen] == targets[fallen] + 1).all()
    expected = torch.where(fallen, 0.9, levels + BALL.eps)
    reached = moved.flatten(1)[torch.arange(6), targets]
    torch.testing.assert_close(reached, expected, rtol=0, atol=0.011)  # a step is 0.01
    others = torch.ones(6, 3, dtype=torch.bool)
    others[torch.arange(6), targets] = False
    assert torch.equal(moved.flatten(1)[others], x.flatten(1)[others])
    assert len({*asked.calls}) > 3  # the batch did shrink, several times
    assert asked.calls[-1] == int((~fallen).sum())


def test_the_cost_and_ranks_that_raise() -> None:
    attack = Targeted(PGD(BALL, steps=7, restarts=2))
    assert attack.passes.forward == 17
    assert attack.passes.backward == 14
    assert attack.perturbation == BALL
    with pytest.raises(ValueError, match="rank >= 1, got 0"):
        Targeted(STRONG, rank=0)
