"""Several attacks in turn: their perturbation, their cost, and their random numbers."""

from dataclasses import dataclass

import torch
from linear import Counting, random_linear
from torch import Tensor

from morex.attacks import Attack, InTurn
from morex.attacks.base import Passes
from morex.attacks.freezing import Model
from morex.perturbations import L2, Linf, Perturbation

PRICE = Passes(forward=5, backward=3)


@dataclass(frozen=True)
class Noise(Attack):
    """Noise far too weak to fool a model, with a cost."""

    perturbation: Perturbation
    passes: Passes = PRICE

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return x + 1e-9 * torch.rand(x.shape, generator=generator, dtype=x.dtype)


def test_attacks_on_one_perturbation_search_that_one():
    assert InTurn((Noise(Linf(0.1)), Noise(Linf(0.1)))).perturbation == Linf(0.1)


def test_attacks_on_several_search_their_union_in_order_and_nested_ones_too():
    inner = InTurn((Noise(L2(1)), Noise(Linf(0.1))))
    assert inner.perturbation == (L2(1), Linf(0.1))
    assert InTurn((Noise(Linf(0.2)), inner, Noise(L2(1)))).perturbation == (
        Linf(0.2),
        L2(1),
        Linf(0.1),
    )


def test_it_costs_its_attacks_and_a_decision_before_and_after_each():
    attacks = InTurn((Noise(L2(1)), Noise(L2(1))))
    assert attacks.passes == Passes(forward=2 * 5 + 3, backward=2 * 3)
    linear, x, y = random_linear(2, seed=0, count=7)
    model = Counting(linear)
    attacks(model, x, y)
    assert model.calls == [7, 7, 7]  # the noise itself does not call the model


def test_every_attack_draws_from_the_generator_given():
    model, x, y = random_linear(2, seed=0, count=4)
    found = InTurn((Noise(L2(1)), Noise(L2(1))))(
        model, x, y, generator=torch.Generator().manual_seed(3)
    )
    generator = torch.Generator().manual_seed(3)
    torch.rand(x.shape, generator=generator, dtype=x.dtype)
    expected = x + 1e-9 * torch.rand(x.shape, generator=generator, dtype=x.dtype)
    assert torch.equal(found, expected)
