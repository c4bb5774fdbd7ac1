"""The cost of PGD, counted, and PGD that starts from given images."""

from typing import Any

import pytest
import torch
from linear import Counting, random_linear
from torch import Tensor

from morex.attacks import PGD
from morex.attacks.base import Passes
from morex.perturbations import L1, L2, Linf

BALL = Linf(0.01)


@pytest.mark.parametrize(
    ("options", "forward", "backward"),
    [
        ({"steps": 4}, 5, 4),
        ({"steps": 4, "restarts": 3}, 15, 12),
        ({"steps": 4, "keep": "last"}, 4, 4),
        ({"perturbation": (BALL, L2(0.1)), "steps": 4}, 4 * 3 + 1, 4),
        ({"perturbation": (BALL, L2(0.1), L1(0.1)), "steps": 4, "restarts": 2}, 34, 8),
        ({"perturbation": (BALL,), "steps": 4}, 5, 4),
    ],
)
def test_passes_are_those_that_are_made(
    options: dict[str, Any], forward: int, backward: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = []
    grad = torch.autograd.grad

    def counted(*arguments: Any) -> Any:
        gradients.append(1)
        return grad(*arguments)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    linear, x, y = random_linear(3, seed=0, count=5)
    attack = PGD(**{"perturbation": BALL} | options)
    model = Counting(linear)
    attack(model, x, y)
    assert (len(model.calls), len(gradients)) == (forward, backward)
    assert attack.passes == Passes(forward, backward)


def test_go_on_searches_once_from_the_given_images() -> None:
    linear, x, y = random_linear(3, seed=0, count=20)
    start = BALL.random_start(x, torch.Generator().manual_seed(1))
    attack = PGD(BALL, steps=1, relative_step=0.5, restarts=3, random_start=True)
    model, generator = Counting(linear), torch.Generator()
    before = generator.get_state()
    found = attack.go_on(model, x, y, start, generator)
    assert torch.equal(generator.get_state(), before)
    assert model.calls == [20, 20]

    def loss(images: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(linear(images), y, reduction="none")

    at = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at).sum(), at)
    stepped = BALL.project(start + 0.005 * gradient.sign(), x)
    better = (loss(stepped) > loss(start)).view(-1, 1, 1, 1)
    assert better.any()
    torch.testing.assert_close(found, torch.where(better, stepped, start))
