"""The whole training loop against the forward and backward passes that it must do."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks import passes
from benchmarks.measuring import Measurement, ratio
from benchmarks.networks import images, resnet18
from morex import TrainingConfig, TrainingData, train
from morex.attacks import PGD, WorstOfDraws, frozen
from morex.data import Augment, ImageSet
from morex.perturbations import L2, Clean, Linf
from morex.training import Alternate, Average, Max, Objective, SideBySide, Single

_BATCH, _STEPS, _WIDTH = 128, 4, 16
_CLEAN = WorstOfDraws(Clean())
_L2, _LINF = PGD(L2(1.0), steps=2), PGD(Linf(8 / 255), steps=2)

_OBJECTIVES: dict[str, Objective] = {
    "clean": Single((_CLEAN,)),
    "PGD, 2 steps": Single((_LINF,)),
    "PGD, 10 steps": Single((PGD(Linf(8 / 255), steps=10),)),
    "max": Max((_L2, _LINF)),
    "average": Average((_L2, _LINF)),
    "MSD": Single((PGD((L2(1.0), Linf(8 / 255)), steps=2),)),
    "alternate": Alternate((_CLEAN, _LINF)),
    "side by side": SideBySide((_CLEAN, _LINF)),
}
"""Most attacks take two steps only: with few passes, overhead shows."""


def measure() -> Iterator[Measurement]:
    """Compare the loop with its passes, for every objective."""
    for name, objective in _OBJECTIVES.items():
        yield _measured(name, objective)


def _measured(name: str, objective: Objective) -> Measurement:
    data = _data()
    config = TrainingConfig(epochs=1, batch_size=_BATCH, average=0.998)
    looped, bare = resnet18(_WIDTH), resnet18(_WIDTH)
    x, y = images(_BATCH)

    def loop() -> None:
        train(looped, objective, data, config)

    def sums() -> None:
        _bare(bare, objective, x, y)

    value, about = ratio(loop, sums)
    about |= {"width": _WIDTH, "batch": _BATCH, "batches": _STEPS}
    return Measurement(f"training loop / bare passes: {name}", value, 1.1, most=True, about=about)


def _data() -> TrainingData:
    """Return training images for a few steps, and one validation image."""
    x, y = images(_BATCH * _STEPS + 1)
    whole = ImageSet((x * 255).round().byte(), y, tuple("0123456789"))
    train_rows, one = torch.arange(_BATCH * _STEPS), torch.tensor([_BATCH * _STEPS])
    return TrainingData(whole.take(train_rows), whole.take(one), Augment(crop=4, flip=True))


def _bare(model: nn.Module, objective: Objective, x: Tensor, y: Tensor) -> None:
    """Do as many passes over as many images as the objective declares."""
    cost, updates = objective.passes * _STEPS, objective.updates * _STEPS
    gradients = round(cost.backward) - updates
    with frozen(model):
        for _ in range(gradients):
            passes.input_gradient(model, x, y)
        for _ in range(round(cost.forward) - gradients - updates):
            passes.forward(model, x)
    model.train()
    for _ in range(updates):
        passes.weight_gradient(model, x, y)
