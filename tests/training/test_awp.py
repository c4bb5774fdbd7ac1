"""Adversarial weight perturbation, against the published algorithm written out."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small_training import CLEAN, Small, config, same, state
from torch import Tensor, nn

from morex.training import ClassOfImage, PerturbedWeights, Single, TrainingConfig
from morex.training.awp import WeightPerturbation
from morex.training.state import TrainingState
from morex.training.step import TrainingStep

GAMMA, RATE = 0.1, 0.05
X = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(6)


def as_published(model: Small) -> None:
    """A step of Wu et al.: a proxy climbs, its differences are rescaled, the model descends."""
    proxy = copy.deepcopy(model).train()
    climb = torch.optim.SGD(proxy.parameters(), lr=0.01)
    (-F.cross_entropy(proxy(X), Y)).backward()
    climb.step()
    added = {}
    for name, new in proxy.named_parameters():
        old = model.get_parameter(name)
        if old.ndim > 1:
            difference = (new - old).detach()
            added[name] = GAMMA * old.norm().detach() / difference.norm() * difference
    descend = torch.optim.SGD(model.parameters(), lr=RATE)
    model.train()
    with torch.no_grad():
        for name, difference in added.items():
            model.get_parameter(name).add_(difference)
    F.cross_entropy(model(X), Y).backward()
    descend.step()
    with torch.no_grad():
        for name, difference in added.items():
            model.get_parameter(name).sub_(difference)


def stepped(model: nn.Module, settings: TrainingConfig, *, step: int = 0, warm_up: int = 0) -> None:
    parameters = [*model.parameters()]
    training = TrainingState(model, parameters, settings)
    taken = TrainingStep(
        model,
        Single((CLEAN,)),
        ClassOfImage(),
        training,
        precision="fp32",
        clip_norm=None,
        awp=WeightPerturbation(model, parameters, GAMMA),
        warm_up=warm_up,
    )
    training.begin_step(RATE)
    taken(X, Y, taken.variant(step, 0), torch.Generator())


def test_a_step_is_that_of_the_paper() -> None:
    settings = config(momentum=0.0, weight_decay=0.0)
    ours, theirs, plain = Small(1), Small(1), Small(1)
    stepped(ours, settings)
    as_published(theirs)
    stepped(plain, settings, step=3, warm_up=4)
    expected = state(theirs)
    for name, found in state(ours).items():
        assert torch.allclose(found, expected[name], rtol=1e-4, atol=1e-6), name
    assert (state(plain)["conv.weight"] - expected["conv.weight"]).abs().max() > 1e-4
    assert ours.norm.num_batches_tracked == 1  # the pass that climbs leaves no trace


def test_the_weights_come_back_to_the_same_bits() -> None:
    model = Small(2)
    before = state(model)
    perturb = WeightPerturbation(model, [*model.parameters()], GAMMA)
    with perturb(lambda: F.cross_entropy(model(X), Y)):
        inside = state(model)
    moved = (inside["conv.weight"] - before["conv.weight"]).norm()
    assert (moved / before["conv.weight"].norm()).item() == pytest.approx(GAMMA, rel=1e-4)
    assert torch.equal(inside["head.bias"], before["head.bias"])
    assert same(state(model), before)
    with pytest.raises(KeyError), perturb(lambda: F.cross_entropy(model(X), Y)):
        raise KeyError
    assert same(state(model), before)


class Partly(nn.Module):
    """A network with a matrix that nothing depends on, and one of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(192, 2), nn.Linear(2, 2)
        nn.init.zeros_(self.used.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x.flatten(1))


def test_unused_and_zero_weights_stay_as_they_are() -> None:
    model = Partly()
    before = state(model)
    perturb = WeightPerturbation(model, [*model.parameters()], GAMMA)
    with perturb(lambda: model(X).sum()):
        assert same(state(model), before)
    with pytest.raises(ValueError, match="no matrix or kernel learns"):
        WeightPerturbation(model, [model.used.bias], GAMMA)


def test_passes_count_the_climb_after_the_warm_up() -> None:
    half = config(awp=PerturbedWeights(warm_up=1.0))  # of two epochs, five steps each
    assert half.warm_up_steps(5) == 5
    assert half.passes_of_update(100) == 1.5
    assert config(awp=PerturbedWeights()).passes_of_update(100) == 2
    assert config(awp=PerturbedWeights(warm_up=9.0)).passes_of_update(100) == 1
    assert config().passes_of_update(100) == 1


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"gamma": 5.0}, {"warm_up": -1.0}])
def test_bad_numbers_raise(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"awp needs gamma in \(0, 1\] and warm_up of at least 0"):
        PerturbedWeights(**wrong)
