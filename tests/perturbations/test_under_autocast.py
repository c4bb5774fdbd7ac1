"""Transforms compute in float32 under autocast, those of a user as well."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from test_odd_sizes import TRANSFORMS, images, moved
from torch import Tensor

from morex.attacks import (
    Attack,
    GridSearch,
    RandomNoise,
    SearchAround,
    WorstOfDraws,
    WorstOfStrengths,
)
from morex.perturbations import Chain, Fog, Linf, RotateTranslate, Shear, Transform, compose


@dataclass(frozen=True)
class Mixed(Transform):
    """Colours are mixed by a random matrix, as a user would write it."""

    name: ClassVar[str] = "mixed"

    def scaled(self, factor: float) -> "Mixed":
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        weights = torch.rand((len(x), 3, 3), generator=generator, device=x.device).softmax(2)
        return (weights @ x.flatten(2)).view_as(x).clamp(0, 1)


def under_autocast(dtype: torch.dtype, work: Callable[[], Tensor]) -> Tensor:
    with torch.autocast("cpu", dtype):
        return work()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_a_transform_is_the_same_under_autocast(transform: Transform, dtype: torch.dtype) -> None:
    for size in ((8, 8), (32, 30)):
        x = images(size)
        found = under_autocast(dtype, lambda x=x: moved(transform, x))
        assert found.dtype == torch.float32
        assert torch.equal(found, moved(transform, x))


TRIED: list[Attack] = [
    WorstOfDraws(Mixed()),
    WorstOfDraws(Chain((Fog(0.0, 0.5), Mixed()))),
    WorstOfDraws(RotateTranslate(30, 3)),
    WorstOfDraws(Shear(20)),
    SearchAround(compose(Mixed(), Linf(0.1)), RandomNoise(Linf(0.1))),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("attack", TRIED, ids=lambda a: type(a).__name__)
def test_what_a_training_step_draws_is_the_same_under_autocast(attack: Attack) -> None:
    x, y = images((16, 16)), torch.zeros(5, dtype=torch.int64)

    def drawn() -> Tensor:
        return attack.search(
            lambda x: x.new_zeros(len(x), 2), x, y, torch.Generator().manual_seed(0)
        )

    assert torch.equal(under_autocast(torch.bfloat16, drawn), drawn())


@pytest.mark.parametrize(
    "attack",
    [
        GridSearch(RotateTranslate(30, 3), points=2),
        WorstOfStrengths(RotateTranslate(30, 3), draws=1),
        WorstOfStrengths(Mixed(), draws=1),
        WorstOfDraws(Mixed(), 3),
    ],
    ids=str,
)
def test_every_image_that_a_search_tries_is_the_same_under_autocast(attack: Attack) -> None:
    x, y = images((16, 16)), torch.zeros(5, dtype=torch.int64)

    def seen() -> Tensor:
        asked = list[Tensor]()

        def model(x: Tensor) -> Tensor:
            asked.append(x)
            return torch.tensor([1.0, 0.0]).expand(len(x), 2)

        attack.search(model, x, y, torch.Generator().manual_seed(0))
        return torch.cat(asked)

    assert torch.equal(under_autocast(torch.bfloat16, seen), seen())
