"""Expectation over transformation: PGD on models that draw."""

import pytest
import torch
from linear import random_linear, right, robust_gap
from torch import Tensor, nn

from morex.attacks import PGD, EoT, OverDraws
from morex.attacks.targeted import TowardsTargets
from morex.perturbations import Fog, Linf


class Noisy(nn.Module):
    """A linear model whose weights are drawn anew in every call, around the true ones."""

    def __init__(self, model: nn.Module, noise: float) -> None:
        super().__init__()
        self.model, self.noise, self.draws = model, noise, torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.model.weight, self.model.bias
        drawn = torch.randn(weight.shape, generator=self.draws) * self.noise
        return (x - 0.5).flatten(1) @ (weight + drawn).T + bias + weight.sum(1) / 2


def test_the_mean_over_draws_finds_what_one_draw_misses() -> None:
    model, x, y = random_linear(4, seed=3, margin=0.05, count=60)
    model, x, ball = model.float(), x.float(), Linf(0.04)
    robust = robust_gap(model, ball, x, y) > 0
    standing = {}
    for draws in (1, 30):
        noisy = Noisy(model, 3.0)
        moved = EoT(ball, draws=draws, steps=10)(noisy, x, y)
        standing[draws] = right(model, moved, y)  # judged by the mean of the noise
        assert standing[draws][robust].all()
    assert standing[30].sum() < standing[1].sum()
    assert (standing[30] == robust).float().mean() > 0.7


def test_on_a_model_that_does_not_draw_it_is_pgd() -> None:
    model, x, y = random_linear(4, seed=3, margin=0.0, count=20)
    model, x = model.float(), x.float()
    draws = [torch.Generator().manual_seed(1) for _ in "ab"]
    plain = PGD(Linf(0.02), 5)(model, x, y, generator=draws[0])
    found = EoT(Linf(0.02), draws=3, steps=5)(model, x, y, generator=draws[1])
    torch.testing.assert_close(found, plain)


def test_losses_with_data_for_each_example_keep_their_rows() -> None:
    loss = OverDraws(2, TowardsTargets(torch.tensor([1, 2, 0]))).rows(torch.tensor([2, 0]))
    logits = torch.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]])
    _, value = loss(torch.clone, logits, torch.tensor([1, 0]))
    assert value.tolist() == [-1.0, 2.0]


def test_wrong_budgets() -> None:
    with pytest.raises(ValueError, match="EoT needs draws >= 1, got 0"):
        EoT(Linf(0.1), draws=0)
    with pytest.raises(ValueError, match="restarts >= 1"):
        EoT(Linf(0.1), restarts=0)
    assert EoT(Fog(0, 1), draws=4, steps=5).passes.backward == 20
