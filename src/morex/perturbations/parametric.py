"""Perturbations whose images are numbered by points of a box: what an attacker can choose.

    x' = apply(x, p),   p in [-1, 1]^P for every image

A transform may be one as well: it draws what an attack on it chooses.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.perturbations.base import Perturbation


@dataclass(frozen=True)
class Parametric(Perturbation):
    """A perturbation whose images are those of the points of a box.

    PGD ascends in p: each step moves all coordinates by the same length, in the direction of the
    signs of the gradient, and p stays in the box. ``has_middle`` says whether a search may start
    from p = 0; it may not where coordinates without a gradient decide whether anything happens.
    """

    has_middle: ClassVar[bool] = True

    @abstractmethod
    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a uniform point for every image: (N, C, H, W) -> (N, P) in [-1, 1]."""

    @abstractmethod
    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images at the points, in [0, 1], differentiable in ``point``.

        A coordinate in which the image jumps has a gradient of 0; a search leaves it as drawn.

        Args:
            x: (N, C, H, W) in [0, 1], float32 or wider.
            point: (N, P) in [-1, 1].
        """


def uniform_points(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` uniform numbers in [-1, 1] for every image, (N, count)."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    drawn = torch.rand((len(x), count), device=x.device, dtype=dtype, generator=generator)
    return drawn.mul_(2).sub_(1)


def straight_through(exact: Tensor, smooth: Tensor) -> Tensor:
    """Return the values of ``exact`` with the gradient of ``smooth``."""
    return exact.detach() + (smooth - smooth.detach())
