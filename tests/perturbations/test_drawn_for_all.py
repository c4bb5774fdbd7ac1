"""Every transform and every start in a ball is drawn for a shard as for the whole batch."""

import pytest
import torch
from torch import Tensor

from morex.attacks import APGD, PGD, Attack, AwayFromOwnAnswers, Model, NoisyFGSM, RandomNoise
from morex.attacks.gate_steering import DrawnSteering
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


def in_shards(search: object, first: int = 7) -> Tensor:
    parts = []
    for rows in (range(first), range(first, IMAGES)):
        with of_shard(Shard(rows, IMAGES)):
            parts.append(search(X[rows.start : rows.stop]))
    return torch.cat(parts)


@pytest.mark.parametrize("images", range(1, 8))  # some are other sizes of a draw as well
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_transforms(transform: Transform, images: int) -> None:
    whole = draw(transform, X, generator_for(1))
    parts = in_shards(lambda x: draw(transform, x, generator_for(1)), images)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


class Gated:
    """Gives every pixel of the first row an expert, and every image the same answer."""

    def __call__(self, x: Tensor) -> Tensor:
        return (x * 0).flatten(1)[:, :2]

    def gate_weights(self, x: Tensor) -> Tensor:
        return torch.softmax(x[:, 0, 0], 1)


@pytest.mark.parametrize("images", [3, 7])
def test_experts_to_push_to(images: int) -> None:
    y, attack = torch.zeros(IMAGES, dtype=torch.int64), DrawnSteering(Linf(0.1), steps=1)

    def search(x: Tensor) -> Tensor:
        return attack.search(Gated(), x, y[: len(x)], generator_for(1))

    assert torch.equal(search(X), in_shards(search, images))


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.5), L1(3.0)])
def test_starts(ball: object) -> None:
    y = torch.zeros(IMAGES, dtype=torch.int64)

    def flat(x: Tensor) -> Tensor:
        return (x * 0).flatten(1)[:, :2]

    def wrong(x: Tensor) -> Tensor:
        return flat(x) + torch.tensor([0.0, 1.0])

    for attack, model in (
        (PGD(ball, steps=1), flat),
        (PGD((Linf(0.1), L2(0.5)), steps=1), flat),
        (NoisyFGSM(ball), flat),
        (AwayFromOwnAnswers(PGD(ball, steps=1)), flat),
        (RandomNoise(ball, draws=2), wrong),
        *([] if isinstance(ball, L1) else [(APGD(ball, steps=1, targets=0), flat)]),
    ):

        def search(x: Tensor, attack: Attack = attack, model: Model = model) -> Tensor:
            return attack.search(model, x, y[: len(x)], generator_for(1))

        assert torch.equal(search(X), in_shards(search)), attack
