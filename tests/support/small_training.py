"""Small networks, and what tests need to train them and to see how they are trained."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.attacks import PGD, Attack, Model, Passes, WorstOfDraws
from morex.data import ImageSet
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.perturbations import Clean, Linf, Snow, Transform
from morex.training.config import TrainingConfig
from morex.training.objectives import SideBySide
from morex.training.state import Snapshot

CLEAN = WorstOfDraws(Clean())


@dataclass(frozen=True)
class Invert(Transform):
    """White on black becomes black on white."""

    def scaled(self, factor: float) -> "Invert":
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        return 1 - x


class Small(nn.Module):
    """A convolution, BatchNorm and a linear layer called ``head``."""

    def __init__(self, seed: int = 0, outputs: int = 10) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)
            self.head = nn.Linear(8 * 3 * 3, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))).flatten(1))


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 2, "batch_size": 20, "precision": "fp32"} | changes)


def network(seed: int = 0) -> nn.Module:
    shape = NetworkConfig("resnet10", 4, 10, (8, 8), (0.3,) * 3, (0.37,) * 3)
    return ResNet(shape, seed=seed).to(memory_format=torch.channels_last)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def accuracy(model: nn.Module, data: ImageSet) -> float:
    with torch.no_grad():
        return (model(data.pixels(slice(None))).argmax(1) == data.labels).float().mean().item()


@dataclass(frozen=True)
class Onlooker(Attack):
    """Leaves images as they are and shows what it is called with."""

    look: Callable[[Model, Tensor, torch.Generator], Tensor | None] = lambda *_: None
    perturbation: Transform = Clean()  # noqa: RUF009

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        changed = self.look(model, x, generator)
        return x if changed is None else changed


@dataclass
class Memory:
    """A checkpoint in memory; what it keeps has passed through plain, contiguous tensors."""

    every: int = 1
    saved: list[Snapshot] = field(default_factory=list)
    start: Snapshot | None = None
    steps: int = 0

    def load(self) -> Snapshot | None:
        return self.start

    def due(self) -> bool:
        self.steps += 1
        return self.steps % self.every == 0

    def save(self, snapshot: Snapshot) -> None:
        tensors = {k: t.detach().contiguous().clone() for k, t in snapshot.tensors.items()}
        self.saved.append(Snapshot(tensors, copy.deepcopy(snapshot.values)))


STOCHASTIC = SideBySide((PGD(Linf(0.1), steps=1), WorstOfDraws(Snow(darkness=2.0))))
