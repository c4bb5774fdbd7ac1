"""Evaluation of attacks around transformed images, and the random numbers of every batch."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from linear import Linear
from noise import Noise
from torch import Tensor

from morex.attacks import PGD, Attack, SearchAround, WorstOfDraws
from morex.attacks.base import Passes
from morex.attacks.freezing import Model
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.evaluation import evaluate
from morex.evaluation.feasibility import InfeasibleError
from morex.evaluation.suite import Row
from morex.perturbations import Around, Ball, Linf


@dataclass(frozen=True)
class Stay(Attack):
    """Moves no image, or every pixel by ``by``."""

    perturbation: Ball
    by: float = 0.0
    passes: ClassVar[Passes] = Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return x + self.by * (0.5 - x).sign()


WEIGHT = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
MODEL = Linear(WEIGHT, -WEIGHT.sum(1) / 2).float()
BALL = Linf(0.05)


def images(n: int = 50) -> ImageSet:
    pixels = torch.randint(256, (n, 3, 2, 2), generator=torch.Generator().manual_seed(1))
    labels = torch.randint(3, (n,), generator=torch.Generator().manual_seed(2))
    return ImageSet(pixels.to(torch.uint8), labels, ("a", "b", "c"))


def noise(name: str, seed: int, batch_size: int, n: int = 50) -> Tensor:
    """Return what every batch draws."""
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
    return torch.cat(
        [
            torch.rand((size, 3, 2, 2), generator=generator_for(seed, "evaluation", name, batch))
            for batch, size in enumerate(sizes)
        ]
    )


def is_right(x: Tensor) -> list[bool]:
    return (MODEL(x).argmax(1) == images().labels).tolist()


@pytest.mark.parametrize(("seed", "batch_size"), [(0, 1), (0, 20), (5, 256)])
def test_every_batch_draws_from_seed_row_and_number(seed, batch_size):
    row = Row("some-noise", WorstOfDraws(Noise()))
    found = evaluate(MODEL, images(), [row], seed=seed, batch_size=batch_size)
    assert found.right["some-noise"].tolist() == is_right(noise("some-noise", seed, batch_size))


@pytest.mark.parametrize("seed", [0, 5])
def test_the_centre_around_a_transform_is_the_one_that_the_attack_drew(seed):
    row = Row("noise", SearchAround(Around(Noise(), BALL), Stay(BALL)))
    found = evaluate(MODEL, images(), [row], seed=seed, batch_size=20)
    expected = is_right(noise("noise", seed, 20))
    assert found.right["noise"].tolist() == expected
    assert 5 < sum(expected) < 45


@dataclass(frozen=True)
class Help(Stay):
    """Moves every image towards its class, as no attack should."""

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        towards = WEIGHT[y].view_as(x).sign()
        return (x + self.perturbation.eps * towards).clamp(0, 1)


@pytest.mark.parametrize("attack", [PGD(BALL, steps=3), Help(BALL)], ids=["pgd", "help"])
def test_centre_and_result_have_to_be_right(attack: Attack):
    row = Row("noise", SearchAround(Around(Noise(), BALL), attack))
    found = evaluate(MODEL, images(), [row], batch_size=256).right["noise"].tolist()
    centre = is_right(noise("noise", 0, 256))
    generator = generator_for(0, "evaluation", "noise", 0)
    drawn = torch.rand((50, 3, 2, 2), generator=generator)
    result = is_right(attack(MODEL, drawn, images().labels, generator=generator))
    assert found == [a and b for a, b in zip(centre, result, strict=True)]
    assert 0 < sum(found) < max(sum(centre), sum(result))


def test_a_result_outside_the_ball_around_the_centre_raises():
    row = Row("noise", SearchAround(Around(Noise(), BALL), Stay(BALL, by=0.06)))
    with pytest.raises(InfeasibleError, match=r"^noise: returned an image 0\.01 outside Linf"):
        evaluate(MODEL, images(), [row])
