"""The worst over strengths: weaker weather sometimes fools where the full one does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from morex.attacks.base import Attack, Model, Passes
from morex.attacks.in_turn import Search, first_that_fools
from morex.perturbations import Transform


@dataclass(frozen=True)
class WorstOfStrengths(Attack):
    """Random search over a grid: several draws of a transform at each of several strengths.

    Args:
        perturbation: the transform at its full strength.
        draws: at every strength.
        strengths: factors on the strength, the last one in the result where nothing fools.

    Raises:
        ValueError: if it is not a transform, ``draws`` is below 1, or a factor is not in [0, 1].
    """

    perturbation: Transform
    draws: int = 5
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        """Check the budget."""
        if not isinstance(self.perturbation, Transform):
            raise ValueError(f"WorstOfStrengths draws transforms, got {self.perturbation}")
        within = all(0 <= factor <= 1 for factor in self.strengths)
        if self.draws < 1 or not self.strengths or not within:
            raise ValueError(
                "WorstOfStrengths needs draws >= 1 and strengths in [0, 1], got "
                f"{self.draws} and {self.strengths}"
            )

    @property
    def passes(self) -> Passes:
        """A decision on the image itself and on every draw."""
        return Passes(forward=1 + self.draws * len(self.strengths))

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first draw that fools, or the last one."""
        return first_that_fools(model, x, y, self._searches(generator))

    def _searches(self, generator: torch.Generator) -> Iterator[Search]:
        for strength in self.strengths:
            weaker = self.perturbation.scaled(strength)
            for _ in range(self.draws):
                yield partial(_drawn, weaker, generator)


def _drawn(transform: Transform, generator: torch.Generator, x: Tensor, y: Tensor) -> Tensor:
    return transform(x, generator=generator)
