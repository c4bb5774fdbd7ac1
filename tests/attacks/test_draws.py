"""Searches that only draw: which draw comes back, its cost, and the valid budgets."""

from dataclasses import dataclass
from typing import ClassVar, Self

import pytest
import torch
import torch.nn.functional as F
from linear import Counting, random_linear
from torch import Tensor

from morex.attacks import GridSearch, RandomNoise, WorstOfDraws
from morex.attacks.base import Passes
from morex.attacks.draws import WorstOfStrengths
from morex.perturbations import L2, Linf, Scale, Spatial, Transform


@dataclass(frozen=True)
class Mixed(Transform):
    """Mixes every image with noise drawn for it."""

    share: float
    name: ClassVar[str] = "mixed"

    def scaled(self, factor: float) -> Self:
        return type(self)(self.share * factor)

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        return (1 - self.share) * x + self.share * noise


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_the_worst_of_several_draws_is_the_one_of_the_largest_loss():
    linear, x, y = random_linear(3, seed=1, count=40)
    model, generator = Counting(linear), seeded()
    drawn = torch.stack([Mixed(0.5)(x, generator=generator) for _ in range(4)])
    losses = torch.stack([F.cross_entropy(linear(d), y, reduction="none") for d in drawn])
    worst = losses.argmax(0)
    assert len(worst.unique()) == 4
    attack = WorstOfDraws(Mixed(0.5), draws=4)
    found = attack(model, x, y, generator=seeded())
    assert torch.equal(found, drawn[worst, torch.arange(len(x))])
    assert attack.passes == Passes(forward=len(model.calls)) == Passes(forward=4)


def test_one_draw_never_calls_the_model():
    linear, x, y = random_linear(3, seed=1)
    model, attack = Counting(linear), WorstOfDraws(Mixed(0.5))
    assert torch.equal(attack(model, x, y, generator=seeded()), Mixed(0.5)(x, generator=seeded()))
    assert attack.passes == Passes(forward=len(model.calls)) == Passes()


def test_the_first_draw_that_fools_at_any_strength_comes_back():
    model, x, y = random_linear(3, seed=1, count=40)
    generator, found, rows = seeded(), x.clone(), torch.arange(len(x))
    seen = set()
    for strength in (0.0, 0.5, 1.0):
        for _ in range(2):
            drawn = Mixed(0.8).scaled(strength)(x[rows], generator=generator)
            found[rows] = drawn
            wrong = model(drawn).argmax(1) != y[rows]
            seen |= {strength} if wrong.any() else set()
            rows = rows[~wrong]
    assert seen == {0.5, 1.0}
    attack = WorstOfStrengths(Mixed(0.8), draws=2, strengths=(0.0, 0.5, 1.0))
    assert torch.equal(attack(model, x, y, generator=seeded()), found)


def test_strengths_cost_a_decision_on_the_image_and_on_every_draw():
    linear, x, y = random_linear(2, seed=1)
    model = Counting(linear)
    attack = WorstOfStrengths(Mixed(1e-9), draws=2, strengths=(0.5, 0.75, 1.0))
    attack(model, x, y)  # too weak to fool: every draw is tried
    assert attack.passes == Passes(forward=len(model.calls)) == Passes(forward=7)


def test_noise_is_the_last_draw_that_fools_or_the_image_itself():
    model, x, y = random_linear(3, seed=1, margin=0.3, count=60)
    ball, generator, found = Linf(0.2), seeded(), x
    fooled = []
    for _ in range(3):
        moved = ball.random_start(x, generator)
        wrong = model(moved).argmax(1) != y
        found = torch.where(wrong.view(-1, 1, 1, 1), moved, found)
        fooled.append(wrong)
    several = torch.stack(fooled).sum(0)
    assert {0, 1, 2} <= {*several.tolist()}
    counting, attack = Counting(model), RandomNoise(ball, draws=3)
    assert torch.equal(attack(counting, x, y, generator=seeded()), found)
    assert attack.passes == Passes(forward=len(counting.calls)) == Passes(forward=3)


def test_the_first_of_several_draws_with_equal_losses_stays():
    x, y = torch.full((3, 3, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64)
    found = WorstOfDraws(Mixed(0.5), draws=3)(
        lambda moved: torch.zeros(len(moved), 2), x, y, generator=seeded()
    )
    assert torch.equal(found, Mixed(0.5)(x, generator=seeded()))


@dataclass(frozen=True)
class Written(Spatial):
    """Writes the two parameters into the first pixels, as values from 0 to 1."""

    parameters: ClassVar[int] = 2

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        return torch.cat([(point + 1).view(-1, 1, 1, 2) / 2, x[..., 2:]], 3)

    def matrix(self, point: Tensor, size: tuple[int, int]) -> Tensor:
        raise NotImplementedError


def test_a_grid_goes_from_end_to_end_and_stops_at_what_fools():
    x, y = torch.full((1, 1, 1, 4), 0.3), torch.zeros(1, dtype=torch.int64)
    attack, ends = GridSearch(Written(), points=3), (0.0, 0.5, 1.0)
    grid = [[first, second] for first in ends for second in ends]
    seen = []

    def model(moved: Tensor) -> Tensor:
        seen.append(moved[0, 0, 0, :2].tolist())
        wrong = float(moved[0, 0, 0, 1] > stop)
        return torch.tensor([[1 - wrong, wrong]])

    stop = 1.0  # never
    assert attack(model, x, y)[0, 0, 0].tolist() == pytest.approx([1, 1, 0.3, 0.3])
    assert seen[1:] == grid
    assert attack.passes == Passes(forward=len(seen)) == Passes(forward=10)
    stop = 0.75
    assert attack(model, x, y)[0, 0, 0].tolist() == pytest.approx([0, 1, 0.3, 0.3])


@pytest.mark.parametrize(
    "make",
    [
        lambda: WorstOfDraws(Mixed(0.5), draws=1),
        lambda: WorstOfStrengths(Mixed(0.5), draws=1, strengths=(0.0, 1.0)),
        lambda: GridSearch(Scale(0.1), points=2),
        lambda: RandomNoise(L2(1), draws=1),
    ],
)
def test_the_smallest_budgets_are_allowed(make):
    make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WorstOfDraws(Mixed(0.5), draws=0), "draws >= 1, got 0"),
        (lambda: WorstOfDraws(L2(1)), "draws transforms"),
        (lambda: WorstOfStrengths(L2(1)), "draws transforms"),
        (lambda: WorstOfStrengths(Mixed(0.5), draws=0), "draws >= 1"),
        (lambda: WorstOfStrengths(Mixed(0.5), strengths=()), "strengths in"),
        (lambda: WorstOfStrengths(Mixed(0.5), strengths=(0.5, 1.01)), "strengths in"),
        (lambda: WorstOfStrengths(Mixed(0.5), strengths=(-0.01, 0.5)), "strengths in"),
        (lambda: RandomNoise(L2(1), draws=0), "draws >= 1, got 0"),
    ],
)
def test_budgets_that_are_too_small_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
