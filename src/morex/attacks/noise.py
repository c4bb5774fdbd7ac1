"""Random points of a ball: what no other attack should be weaker than."""

from dataclasses import dataclass

import torch
from torch import Tensor

from morex.attacks.base import Attack, Model, Passes
from morex.perturbations import Ball


@dataclass(frozen=True)
class RandomNoise(Attack):
    """Uniform draws from the ball; each example's last one that fools, or the image itself.

    Args:
        perturbation: the ball.
        draws: how many.

    Raises:
        ValueError: if ``draws`` is below 1.
    """

    perturbation: Ball
    draws: int = 20

    def __post_init__(self) -> None:
        """Check the budget."""
        if self.draws < 1:
            raise ValueError(f"RandomNoise needs draws >= 1, got {self.draws}")

    @property
    def passes(self) -> Passes:
        """A forward pass per draw."""
        return Passes(forward=self.draws)

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return what fools, where something does."""
        found = x
        for _ in range(self.draws):
            moved = self.perturbation.random_start(x, generator)
            wrong = model(moved).argmax(1) != y
            found = torch.where(wrong.view(-1, 1, 1, 1), moved, found)
        return found
