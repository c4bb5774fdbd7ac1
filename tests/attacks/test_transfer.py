"""Attacks on the experts of a model, judged by the whole model, and their cost."""

import pytest
import torch
from linear import random_linear
from torch import Tensor, nn

from morex.attacks import PGD, ExpertTransfer, GateSteering
from morex.attacks.base import Passes
from morex.attacks.gate_steering import DrawnSteering
from morex.perturbations import Linf


class Whole(nn.Module):
    """Two experts, and answers that are their sum with one logit halved."""

    def __init__(self, experts: list[nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)

    def forward(self, x: Tensor) -> Tensor:
        first, second = (expert(x) for expert in self.experts)
        return (first + second) * torch.tensor([1.0, 0.5, 1.0], dtype=x.dtype)


@pytest.mark.parametrize(("steps", "relative_step"), [(20, 2.5), (3, 1.0)])
def test_each_expert_in_turn_and_then_their_mean_is_attacked(steps, relative_step):
    first, x, _ = random_linear(3, seed=1, count=80)
    second, _, _ = random_linear(3, seed=2)
    model, ball = Whole([first, second]).requires_grad_(False), Linf(0.06)
    y = model(x).argmax(1)

    def mean(images: Tensor) -> Tensor:
        return (first(images).float() + second(images).float()) / 2

    generator, found, rows = torch.Generator().manual_seed(4), x.clone(), torch.arange(80)
    fooled = []
    for part in (first, second, mean):
        attack = PGD(ball, steps, relative_step)
        found[rows] = attack.search(part, x[rows], y[rows], generator)
        wrong = model(found[rows]).argmax(1) != y[rows]
        fooled.append(int(wrong.sum()))
        rows = rows[~wrong]
    assert min(fooled[:2]) > 0
    assert len(rows) > 0
    transfer = ExpertTransfer(ball, steps, relative_step)
    moved = transfer(model, x, y, generator=torch.Generator().manual_seed(4))
    assert (moved - found).abs().max() < 1e-6


def test_costs_are_multiples_of_those_of_pgd():
    ball = Linf(0.1)
    assert ExpertTransfer(ball, steps=7).passes == Passes(forward=2 * 8, backward=2 * 7)
    assert DrawnSteering(ball, steps=7).passes == Passes(forward=8, backward=7)
    assert GateSteering(ball, steps=7).passes == Passes(forward=3 * 8, backward=3 * 7)
    assert GateSteering(ball, steps=7, pushes=(1.0,)).passes == Passes(2 * 8, 2 * 7)


def test_the_default_budgets():
    ball = Linf(0.1)
    assert ExpertTransfer(ball) == ExpertTransfer(ball, steps=20, relative_step=2.5)
    assert DrawnSteering(ball) == DrawnSteering(ball, 20, 2.5, push=1.0)
    assert GateSteering(ball) == GateSteering(ball, 20, 2.5, pushes=(1.0, 5.0))
