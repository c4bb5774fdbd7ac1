"""Attacks on transforms: draw, and keep what hurts most."""

from dataclasses import dataclass

import torch
from torch import Tensor

from morex.attacks.base import Attack, Model, Passes
from morex.attacks.pgd import cross_entropy
from morex.perturbations import Transform


@dataclass(frozen=True)
class WorstOfDraws(Attack):
    """Draw a transform ``draws`` times and return each example's image with the largest loss.

    One draw, the default, is the plain transform and never asks the model.

    Raises:
        ValueError: if ``draws`` is below 1, or the perturbation is not a transform.
    """

    perturbation: Transform
    draws: int = 1

    def __post_init__(self) -> None:
        """Check the budget."""
        if not isinstance(self.perturbation, Transform):
            raise ValueError(f"WorstOfDraws draws transforms, got {self.perturbation}")
        if self.draws < 1:
            raise ValueError(f"WorstOfDraws needs draws >= 1, got {self.draws}")

    @property
    def passes(self) -> Passes:
        """One forward pass per draw, none for a single draw."""
        return Passes(forward=self.draws if self.draws > 1 else 0)

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the worst draw of every example."""
        worst = self.perturbation(x, generator=generator)
        if self.draws == 1:
            return worst
        largest = cross_entropy(model(worst), y)
        for _ in range(self.draws - 1):
            drawn = self.perturbation(x, generator=generator)
            loss = cross_entropy(model(drawn), y)
            worst = torch.where((loss > largest).view(-1, 1, 1, 1), drawn, worst)
            largest = torch.maximum(loss, largest)
        return worst
