"""Models that change their images in place are attacked as if they did not."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from morex import MeanOfExperts, Mixture, evaluate
from morex.attacks import (
    PGD,
    Attack,
    DeepFool,
    ExpertTransfer,
    GateSteering,
    RandomNoise,
    RayS,
    Targeted,
    WorstOfDraws,
    frozen,
)
from morex.data import ImageSet
from morex.evaluation import Row, audit_model
from morex.perturbations import L2, Linf, RotateTranslate

ATTACKS: list[Attack] = [
    PGD(Linf(0.05), steps=3, stop_when_fooled=True),
    Targeted(PGD(L2(0.1), steps=3), rank=1),
    DeepFool(L2(0.1), steps=3),
    RayS(Linf(0.1), queries=40),
    RandomNoise(Linf(0.1)),
    WorstOfDraws(RotateTranslate(30, 1), 3),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)


class Normalising(nn.Module):
    """A linear classifier of normalised pixels; ``change`` normalises them."""

    def __init__(self, change: Callable[[Tensor], Tensor], outputs: int = 4, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.change = change
        self.fc = nn.Linear(48, outputs)
        with torch.no_grad():
            for p in self.fc.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.change(x).flatten(1))
        return logits


def in_place(x: Tensor) -> Tensor:
    return x.sub_(0.5).div_(0.25)


def on_a_copy(x: Tensor) -> Tensor:
    return (x - 0.5) / 0.25


CHANGES = {
    "arithmetic": (in_place, on_a_copy),
    "ReLU": (nn.ReLU(inplace=True), nn.ReLU()),
}


def images() -> ImageSet:
    drawn = torch.randint(
        256, (16, 3, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    with torch.no_grad():
        labels = Normalising(on_a_copy)(drawn / 255).argmax(1)
    return ImageSet(drawn, labels, ("a", "b", "c", "d"))


def function(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)  # type: ignore[no-any-return]


@every_attack
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("change", ["arithmetic", "ReLU"])
def test_they_are_attacked_as_if_they_worked_on_a_copy(
    change: str, wrapped: bool, attack: Attack
) -> None:
    data = images()
    x, y = data.pixels(slice(None)), data.labels
    changes, keeps = map(Normalising, CHANGES[change])  # type: ignore[arg-type]
    model = partial(function, changes) if wrapped else changes
    before = x.clone()
    assert torch.equal(attack(model, x, y), attack(keeps, x, y))
    assert torch.equal(x, before)
    suite = (Row("row", attack),)
    found, expected = (evaluate(m, data, suite).right["row"].tolist() for m in (model, keeps))
    assert found == expected
    assert any(expected)


def test_a_mixture_gives_every_expert_the_images_themselves() -> None:
    data = images()
    x, y = data.pixels(slice(None)), data.labels

    def mixture(change: Callable[[Tensor], Tensor]) -> Mixture:
        experts = {name: Normalising(change, seed=seed) for seed, name in enumerate("abc")}
        gate = Normalising(change, outputs=3, seed=7)
        return Mixture(experts, gate, last_layers="fc").train()

    changes, keeps = mixture(in_place), mixture(on_a_copy)
    before = x.clone()
    for mode in (True, False):
        assert torch.equal(changes.train(mode)(x), keeps.train(mode)(x))
        assert torch.equal(x, before)
    mean = MeanOfExperts(dict(zip("abc", changes.experts, strict=True)), last_layers="fc")
    assert torch.equal(mean(x), keeps.expert_logits(x).mean(1))
    for attack in (GateSteering(Linf(0.05), steps=2), ExpertTransfer(Linf(0.05), steps=2)):
        assert torch.equal(attack(changes, x, y), attack(keeps, x, y))


def test_an_audit_takes_them() -> None:
    pytest.importorskip("pyautoattack")
    settings = {"steps": 2, "queries": 20}
    changes, keeps = map(Normalising, CHANGES["arithmetic"])  # type: ignore[arg-type]
    expected = audit_model(keeps, images(), [Linf(0.05)], **settings)
    assert audit_model(changes, images(), [Linf(0.05)], **settings) == expected


def test_no_hook_stays_behind() -> None:
    model = Normalising(in_place)
    with frozen(model):
        assert model._forward_pre_hooks
    assert not model._forward_pre_hooks
