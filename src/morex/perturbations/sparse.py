"""The l_0 ball: few pixels may change, by any amount."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.perturbations.base import Ball

_TINY = 1e-12


@dataclass(frozen=True)
class L0(Ball):
    """At most ``eps`` pixels change, each in all of its channels: ||x' - x||_0 <= eps.

    A fraction of a pixel does not count: L0(2.9) is L0(2). The ball is not convex, so PGD finds
    less in it than in others; restarts help (Croce & Hein 2019, PGD_0).
    """

    name: ClassVar[str] = "l0"

    def norm(self, delta: Tensor) -> Tensor:
        """Return how many pixels differ from 0 in any channel."""
        return (delta != 0).any(1).sum((1, 2)).to(torch.promote_types(delta.dtype, torch.float32))

    def dual_norm(self, gradient: Tensor) -> Tensor:
        """Return max {<g, d>} over d in [-1, 1] with one pixel: the largest sum of |g|."""
        return gradient.abs().sum(1).flatten(1).amax(1)

    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """Keep the pixels that would be farthest from ``moved`` otherwise, clipped; undo the rest.

        Keeping pixel p lowers the squared distance by ||m_p - x_p||^2 - ||m_p - clip(m_p)||^2.
        """
        inside = moved.clamp(0, 1)
        gain = (moved - x).square() - (moved - inside).square()
        kept = _largest(gain.sum(1), int(self.eps + _TINY))
        return torch.where(kept[:, None] & (inside != x), inside, x)

    def steepest_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return the step to faces of the box of those ``size`` pixels, rounded up, that gain most.

        A pixel gains sum_c |g_c| times its way to the face in the direction of g_c.
        """
        target = torch.where(gradient == 0, at, (gradient > 0).to(at.dtype))
        step = target - at
        gain = (gradient * step).sum(1)
        return torch.where((_largest(gain, math.ceil(size - _TINY)) & (gain > 0))[:, None], step, 0)

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Give random pixels, as many as are allowed, uniform colours."""
        order = torch.rand(x[:, 0].shape, device=x.device, generator=generator)
        colours = torch.rand(x.shape, device=x.device, dtype=torch.float32, generator=generator)
        chosen = _largest(order, int(self.eps + _TINY))
        return torch.where(chosen[:, None], colours.to(x.dtype), x)


def _largest(values: Tensor, count: int) -> Tensor:
    """Return where the ``count`` largest of (N, H, W) are, bool; of equals, any."""
    flat = values.flatten(1)
    count = max(0, min(count, flat.shape[1]))
    mask = torch.zeros_like(flat, dtype=torch.bool)
    return mask.scatter_(1, flat.topk(count).indices, True).view(values.shape)
