"""Models with odd answers, and every attack that can be tried on them."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from morex.attacks import (
    APGD,
    PGD,
    Attack,
    AutoAttack,
    DeepFool,
    EoT,
    ExpertTransfer,
    GateSteering,
    GridSearch,
    InTurn,
    RandomNoise,
    RayS,
    SearchAround,
    Targeted,
    WorstOfDraws,
    WorstOfStrengths,
)
from morex.attacks.gate_steering import DrawnSteering
from morex.data import ImageSet
from morex.evaluation import Row, evaluate
from morex.perturbations import L1, L2, Around, Clean, Linf, Scale, Transform


@dataclass(frozen=True)
class Shades(Transform):
    """Draws one shade of grey for every image, from black to white or only the two."""

    levels: int = 2
    name: ClassVar[str] = "shades"

    def scaled(self, factor: float) -> Self:
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        drawn = torch.randint(self.levels, (len(x), 1, 1, 1), generator=generator)
        return (drawn / (self.levels - 1)).to(x.dtype).expand_as(x).clone()


def brightness(x: Tensor) -> Tensor:
    """Return the mean of every image, (N, 1)."""
    return x.mean((1, 2, 3))[:, None]


def grey(count: int = 4, label: int = 0) -> ImageSet:
    """Return images of 128/255, all of one class."""
    labels = torch.full((count,), label)
    return ImageSet(torch.full((count, 3, 4, 4), 128, dtype=torch.uint8), labels, ("a", "b"))


def accuracy(model, attack: Attack, data: ImageSet, seed: int = 0) -> float:
    return evaluate(model, data, (Row("row", attack),), seed=seed).accuracy("row").value


LINF, L2_BALL, L1_BALL = Linf(0.1), L2(1.0), L1(6.0)

IN_BALLS: dict[str, Attack] = {
    "pgd": PGD(LINF, steps=5),
    "pgd-l2": PGD(L2_BALL, steps=5),
    "pgd-l1": PGD(L1_BALL, steps=5),
    "stopping": PGD(LINF, steps=5, stop_when_fooled=True),
    "msd": PGD((LINF, L2_BALL), steps=5),
    "deepfool": DeepFool(L2_BALL, steps=5),
    "deepfool-linf": DeepFool(LINF, steps=5, candidates=None),
    "rays": RayS(LINF, queries=20),
    "rays-l2": RayS(L2_BALL, queries=20),
    "noise": RandomNoise(LINF, draws=20),
    "targeted": Targeted(PGD(LINF, steps=5)),
    "transfer": ExpertTransfer(LINF, steps=5),
    "steering": GateSteering(LINF, steps=5),
    "drawn": DrawnSteering(LINF, steps=5),
    "in turn": InTurn((RandomNoise(LINF, draws=5), PGD(LINF, steps=5))),
    "apgd": APGD(LINF, steps=5),
    "apgd-l2": APGD(L2_BALL, steps=5, restarts=0),
    "eot": EoT(LINF, draws=2, steps=5),
    "apgd-ce": AutoAttack(LINF, ("apgd-ce",), steps=5),
    "fab-t": AutoAttack(LINF, ("fab-t",), steps=5),
    "square": AutoAttack(LINF, ("square",), queries=20),
}
"""Attacks on balls that contain brighter images."""

ON_TRANSFORMS: dict[str, Attack] = {
    "draws": WorstOfDraws(Shades(), draws=9),
    "strengths": WorstOfStrengths(Shades(), draws=9),
    "grid": GridSearch(Scale(50), points=3),
    "around": SearchAround(Around(Clean(), LINF), PGD(LINF, steps=5)),
}
"""Attacks that draw or enumerate, and one on a composition."""

EVERY = IN_BALLS | ON_TRANSFORMS
