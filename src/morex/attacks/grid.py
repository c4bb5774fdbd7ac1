"""Every point of a grid over a spatial transformation: no draw is overlooked."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from morex.attacks.base import Attack, Model, Passes
from morex.attacks.in_turn import Search, first_that_fools
from morex.perturbations import Spatial


@dataclass(frozen=True)
class GridSearch(Attack):
    """All combinations of evenly spaced parameters (Engstrom et al. 2019, section 4).

    Args:
        perturbation: a spatial transformation.
        points: per parameter, the two ends among them.

    Raises:
        ValueError: if ``points`` is below 2, or the perturbation is not spatial.
    """

    perturbation: Spatial
    points: int = 5

    def __post_init__(self) -> None:
        """Check the budget."""
        if not isinstance(self.perturbation, Spatial):
            raise ValueError(f"GridSearch needs a spatial transform, got {self.perturbation}")
        if self.points < 2:
            raise ValueError(f"GridSearch needs points >= 2, got {self.points}")

    @property
    def passes(self) -> Passes:
        """A decision on the image itself and on every point of the grid."""
        return Passes(forward=1 + self.points**self.perturbation.parameters)

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first point that fools, or the last one of the grid."""
        return first_that_fools(model, x, y, self._searches())

    def _searches(self) -> Iterator[Search]:
        steps = torch.linspace(-1, 1, self.points).tolist()
        for point in product(steps, repeat=self.perturbation.parameters):
            yield partial(_applied, self.perturbation, point)


def _applied(transform: Spatial, point: tuple[float, ...], x: Tensor, y: Tensor) -> Tensor:
    return transform.apply(x, x.new_tensor(point).expand(len(x), -1))
