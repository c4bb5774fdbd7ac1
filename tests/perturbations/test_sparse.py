"""The l_0 ball against enumeration, and PGD in it against the best pixels of linear models."""

from itertools import combinations

import pytest
import torch
from linear import largest_gain, random_linear, right
from torch import Tensor

from morex.attacks import PGD
from morex.evaluation.feasibility import check_feasible
from morex.perturbations import L0, Linf
from morex.perturbations.validate import check_perturbation


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("eps", [0, 1, 2, 3.5, 9, 20])
def test_projection_is_the_nearest_of_all_choices_of_pixels(eps: float) -> None:
    x = torch.rand(4, 2, 3, 3, generator=seeded())
    moved = x + torch.randn(x.shape, generator=seeded(1))
    z = L0(eps).project(moved, x)
    assert (L0(eps).norm(z - x) <= eps).all()
    found = (z - moved).square().sum((1, 2, 3))
    for chosen in combinations(range(9), min(9, int(eps))):
        mask = torch.zeros(9, dtype=torch.bool)
        mask[[*chosen]] = True
        other = torch.where(mask.view(3, 3), moved.clamp(0, 1), x)
        assert (found <= (other - moved).square().sum((1, 2, 3)) + 1e-6).all()
    assert torch.equal(L0(eps).project(z, x), z)


def test_it_keeps_the_rules_and_starts_inside() -> None:
    check_perturbation(L0(5))
    x = torch.rand(20, 3, 8, 8, generator=seeded())
    start = L0(5).random_start(x, seeded(2))
    assert torch.equal(L0(5).norm(start - x), torch.full((20,), 5.0))
    assert str(L0(3)) == "L0(eps=3)"


def test_a_step_goes_to_the_faces_of_the_pixels_that_gain_most() -> None:
    at = torch.tensor([[0.5, 0.9, 0.0, 0.2]]).view(1, 1, 1, 4)
    gradient = torch.tensor([[1.0, 4.0, -9.0, -3.0]]).view(1, 1, 1, 4)
    # gains: 0.5, 0.4, nothing at its face, 0.6
    two = L0(4).steepest_step(gradient, 1.5, at)
    torch.testing.assert_close(two.flatten(), torch.tensor([0.5, 0.0, 0.0, -0.2]))


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_pgd_finds_the_best_pixels_of_a_linear_model(pixels: int) -> None:
    model, x, _ = random_linear(2, seed=3, margin=0.0, count=60)
    model, x, y = model.float(), x.float(), torch.zeros(60, dtype=torch.int64)
    away = (model.weight[1] - model.weight[0]).view(3, 4, 4).expand(60, -1, -1, -1)
    gain = _gain_of_pixels(away, x).topk(pixels, 1).values.sum(1)
    with torch.no_grad():  # about half of the images resist
        first, second = model(x).unbind(1)
        model.bias[0] += (gain - (first - second)).mean()
        first, second = model(x).unbind(1)
    robust = first - second > gain
    attack = PGD(L0(pixels), steps=pixels, relative_step=1, random_start=False)
    moved = attack(model, x, y)
    check_feasible(L0(pixels), x, moved, "pgd")
    assert torch.equal(right(model, moved, y), robust)
    assert 0 < robust.float().mean() < 1
    strong = PGD(L0(pixels), steps=20, restarts=5, relative_step=5)
    assert (right(model, strong(model, x, y), y) == robust).float().mean() > 0.9


def _gain_of_pixels(v: Tensor, x: Tensor) -> Tensor:
    """Return how much each pixel can change <v, x>, (N, H W)."""
    room = torch.where(v > 0, 1 - x, x)
    assert torch.allclose((room * v.abs()).sum((1, 2, 3)), largest_gain(Linf(1.0), v, x))
    return (room * v.abs()).sum(1).flatten(1)
