"""The smallest budgets that attacks accept, and what DeepFool costs, counted."""

from typing import Any

import pytest
import torch
from linear import Counting
from torch import Tensor, nn

from morex.attacks import PGD, DeepFool, ExpertTransfer, GateSteering, RayS
from morex.attacks.base import Passes
from morex.attacks.gate_steering import DrawnSteering
from morex.perturbations import L2, Linf


@pytest.mark.parametrize(
    "make",
    [
        lambda: PGD(L2(1), steps=1, relative_step=1e-9, restarts=1),
        lambda: DeepFool(L2(1), steps=1, overshoot=0.0, candidates=2),
        lambda: DeepFool(Linf(1), candidates=None),
        lambda: RayS(L2(1), queries=1, tolerance=1e-9),
        lambda: ExpertTransfer(L2(1), steps=1, relative_step=1e-9),
        lambda: GateSteering(L2(1), steps=1, relative_step=1e-9, pushes=(1e-9,)),
        lambda: DrawnSteering(L2(1), steps=1, relative_step=1e-9, push=1e-9),
    ],
)
def test_the_smallest_budgets_are_allowed(make):
    make()


@pytest.mark.parametrize("push", [0.0, -1.0])
def test_a_drawn_push_is_positive(push):
    with pytest.raises(ValueError, match="push > 0"):
        DrawnSteering(L2(1), push=push)


class Stubborn(nn.Module):
    """Predicts the first of five classes for every image, without a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :5] + torch.tensor([9.0, 1.0, 4.0, 2.0, 3.0])


@pytest.mark.parametrize(("candidates", "rivals"), [(2, 1), (4, 3), (None, 4), (20, 4)])
def test_deepfool_costs_two_passes_a_step_and_one_back_per_rival(
    candidates: int | None, rivals: int, monkeypatch: pytest.MonkeyPatch
):
    gradients = []
    grad = torch.autograd.grad

    def counted(*arguments: Any, **options: Any) -> Any:
        gradients.append(1)
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    model, attack = Counting(Stubborn()), DeepFool(L2(1), steps=3, candidates=candidates)
    attack(model, torch.rand(2, 3, 2, 2), torch.tensor([0, 0]))
    assert len(model.calls) == 7
    assert len(gradients) == 3 * rivals
    bound = float("inf") if candidates is None else 3 * (candidates - 1)
    assert attack.passes == Passes(forward=7, backward=bound)
