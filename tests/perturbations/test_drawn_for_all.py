"""Every transform and every start in a ball is drawn for a shard as for the whole batch."""

import pytest
import torch
from torch import Tensor

from morex.attacks import PGD, AwayFromOwnAnswers, NoisyFGSM
from morex.core.seeding import generator_for
from morex.core.shards import Shard, of_shard
from morex.perturbations import (
    L1,
    L2,
    Corruption,
    Fog,
    Linf,
    Occlusion,
    Rain,
    RotateTranslate,
    Scale,
    Shear,
    ShotNoise,
    Snow,
    Transform,
    draw,
)
from morex.recipe.components import PERTURBATIONS

IMAGES = 13
X = torch.rand(IMAGES, 3, 16, 16, generator=generator_for(0))


KINDS = [c for c in PERTURBATIONS.values() if issubclass(c, Corruption) and c is not ShotNoise]
TRANSFORMS: list[Transform] = [
    *(corruption(3) for corruption in KINDS),
    *(Fog(0.5, 0.7), Snow(2.0), Rain(), Occlusion(), RotateTranslate(20, 2), Scale(10), Shear(10)),
]


def in_shards(search: object) -> Tensor:
    parts = []
    for rows in (range(7), range(7, IMAGES)):
        with of_shard(Shard(rows, IMAGES)):
            parts.append(search(X[rows.start : rows.stop]))
    return torch.cat(parts)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_transforms(transform: Transform) -> None:
    whole = draw(transform, X, generator_for(1))
    parts = in_shards(lambda x: draw(transform, x, generator_for(1)))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.5), L1(3.0)])
def test_starts(ball: object) -> None:
    y = torch.zeros(IMAGES, dtype=torch.int64)

    def flat(x: Tensor) -> Tensor:
        return (x * 0).flatten(1)[:, :2]

    for attack in (
        PGD(ball, steps=1),
        PGD((Linf(0.1), L2(0.5)), steps=1),
        NoisyFGSM(ball),
        AwayFromOwnAnswers(PGD(ball, steps=1)),
    ):
        found = [
            attack.search(flat, X, y, generator_for(1)),
            in_shards(lambda x, a=attack: a.search(flat, x, y[: len(x)], generator_for(1))),
        ]
        assert torch.equal(*found)
