"""Gate steering, put together by hand from PGD and its losses, with the same random numbers."""

from functools import partial

import pytest
import torch
from linear import SHAPE, random_linear
from torch import Tensor, nn

from morex.attacks import PGD, GateSteering
from morex.attacks.gate_losses import TowardsEach, TowardsExpert
from morex.attacks.gate_steering import DrawnSteering
from morex.attacks.sequence import first_that_fools
from morex.perturbations import Linf

BALL = Linf(0.08)


class Gated(nn.Module):
    """Three linear experts, and a linear gate."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(random_linear(3, seed=seed)[0] for seed in (1, 2, 3))
        self.gate = random_linear(3, seed=4)[0]
        self.requires_grad_(False)

    def gate_weights(self, x: Tensor) -> Tensor:
        return torch.softmax(self.gate(x), 1)

    def forward(self, x: Tensor) -> Tensor:
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        return (self.gate_weights(x)[:, :, None] * answers).sum(1)


def images(model: nn.Module, count: int = 60) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return x, model(x).argmax(1)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(6)


def test_every_example_is_pushed_to_the_expert_that_is_drawn_for_it():
    model = Gated()
    x, y = images(model)
    generator = seeded()
    drawn = torch.randint(4, (len(x),), generator=generator)  # 3: no push
    assert len(drawn.unique()) == 4
    loss = TowardsEach(drawn.clamp(max=2), torch.where(drawn < 3, 2.0, 0.0))
    expected = PGD(BALL, 4, 1.5, loss=loss).search(model, x, y, generator)
    found = DrawnSteering(BALL, 4, 1.5, push=2.0)(model, x, y, generator=seeded())
    assert torch.equal(found, expected)


def test_every_expert_and_push_is_a_search_and_so_are_two_phases_per_expert():
    model = Gated()
    x, y = images(model)
    attack = GateSteering(BALL, 4, 1.5, pushes=(1.0, 5.0))
    generator, alone = seeded(), PGD(BALL, 4, 1.5, stop_when_fooled=True)

    def two_phases(expert: int, x: Tensor, y: Tensor) -> Tensor:
        router = PGD(BALL, 4, 1.5, loss=TowardsExpert(expert, fool=False))
        return alone.go_on(model, x, y, router.search(model, x, y, generator), generator)

    searches = [
        partial(
            PGD(BALL, 4, 1.5, stop_when_fooled=True, loss=TowardsExpert(expert, push)).search,
            model,
            generator=generator,
        )
        for push in (1.0, 5.0)
        for expert in range(3)
    ]
    searches += [partial(two_phases, expert) for expert in range(3)]
    expected = first_that_fools(model, x, y, searches)
    found = attack(model, x, y, generator=seeded())
    assert torch.equal(found, expected)
    still_right = int((model(found).argmax(1) == y).sum())
    assert 0 < still_right < len(y) - 10


@pytest.mark.parametrize("pushes", [(1.0,), (1.0, 2.0, 3.0)])
def test_without_a_gate_there_are_as_many_restarts(pushes: tuple[float, ...]):
    model, x, y = random_linear(3, seed=1, count=60)
    plain = PGD(BALL, 4, 1.5, restarts=len(pushes) + 1, stop_when_fooled=True)
    found = GateSteering(BALL, 4, 1.5, pushes=pushes)(model, x, y, generator=seeded())
    assert torch.equal(found, plain(model, x, y, generator=seeded()))
