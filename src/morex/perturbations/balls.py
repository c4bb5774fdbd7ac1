"""The l_inf, l_2 and l_1 balls: norms, exact projections, steepest steps, random starts.

Projections are on the intersection of ball and box [0, 1]. Clipping after a projection on the ball
alone gives a feasible point, but for l_2 and l_1 not the nearest one. A pixel's *room* is the
distance from x_i to the face of the box that it moves towards. Results are in the ball up to the
rounding of every pixel, at most 3e-8 in float32.

All arithmetic is in float32 or wider. Results have the dtype of the input, so half precision rounds
them to its grid. Nothing here waits for an accelerator.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.core.asking import asking_is_free
from morex.core.units import fraction
from morex.perturbations.base import Ball

_PIXELS = (1, 2, 3)

_NEWTON_STEPS = 20
"""At most. Images and gradients need 2 to 5. If they are not enough, the result is in the ball."""

_NEWTON_STEPS_UNSEEN = 8
"""On an accelerator, where asking whether they are enough takes longer than taking them. In balls
of up to a twentieth of the box's diagonal they are, for gradients of any distribution that was
tried: see the tests."""

_NEGLIGIBLE = 1e-6
"""Share of eps^2 that a projection may leave unused."""


@dataclass(frozen=True)
class Linf(Ball):
    """Every pixel may move by ``eps``: max_i |x'_i - x_i| <= eps."""

    name: ClassVar[str] = "linf"

    def __str__(self) -> str:
        """Return the name and the radius, 8/255 rather than 0.03137."""
        return f"Linf(eps={fraction(self.eps)})"

    def norm(self, delta: Tensor) -> Tensor:
        """Return max_i |delta_i|."""
        return _largest(_wide(delta)).flatten()

    def dual_norm(self, gradient: Tensor) -> Tensor:
        """Return the l_1 norm."""
        return _wide(gradient).abs().sum(_PIXELS)

    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """Clamp every pixel to [x - eps, x + eps] and [0, 1]."""
        centre = _wide(x)
        low, high = (centre - self.eps).clamp_(min=0), (centre + self.eps).clamp_(max=1)
        return _wide(moved).clamp(low, high).to(x.dtype)

    def steepest_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return size * sign(g)."""
        return size * gradient.sign()

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw every pixel uniformly from [x - eps, x + eps]."""
        uniform = _uniform(x.shape, x, generator)
        return _clipped(x, uniform.mul_(2).sub_(1).mul_(self.eps))


@dataclass(frozen=True)
class L2(Ball):
    """The Euclidean ball: sum_i (x'_i - x_i)^2 <= eps^2."""

    name: ClassVar[str] = "l2"

    def __str__(self) -> str:
        """Return the name and the radius, 8/255 rather than 0.03137."""
        return f"L2(eps={fraction(self.eps)})"

    def norm(self, delta: Tensor) -> Tensor:
        """Return sqrt(sum_i delta_i^2), without overflow or underflow of the squares."""
        unit, largest = _largest_is_one(_wide(delta))
        return (largest * _euclidean(unit)).flatten()

    def dual_norm(self, gradient: Tensor) -> Tensor:
        """Return the l_2 norm: it is its own dual."""
        return self.norm(gradient)

    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """Return clip(x + s (moved - x), 0, 1) with the largest s in [0, 1] that is in the ball.

        This is the argmin: by the Karush-Kuhn-Tucker conditions it minimises, pixel by pixel,
        (z_i - moved_i)^2 + a (z_i - x_i)^2 over [0, 1], with s = 1 / (1 + a).
        """
        centre, target = _wide(x), _wide(moved)
        unit, largest = _largest_is_one(target - centre)
        room = _room(unit, centre)
        scale = _scale_to_radius(unit.square(), room.square_(), self.eps)
        z = unit.mul_(scale).add_(centre)
        # A point inside stays where it is, to the last bit.
        return torch.where(scale < largest, z, target).clamp_(0, 1).to(x.dtype)

    def steepest_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return size * g / ||g||_2."""
        unit, _ = _largest_is_one(_wide(gradient))
        return unit.div_(_positive(_euclidean(unit))).mul_(size).to(gradient.dtype)

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a Gaussian direction and the radius eps * U^(1/n), n the number of pixels."""
        normal = torch.randn(x.shape, dtype=_wide_dtype(x), device=x.device, generator=generator)
        radius = self.eps * _relative_radius(x, generator)
        return _clipped(x, normal.mul_(radius / _positive(_euclidean(normal))))


@dataclass(frozen=True)
class L1(Ball):
    """The cross-polytope: sum_i |x'_i - x_i| <= eps."""

    name: ClassVar[str] = "l1"
    revision: ClassVar[int] = 1  # steps of a search are those of l_2

    def __str__(self) -> str:
        """Return the name and the radius, 8/255 rather than 0.03137."""
        return f"L1(eps={fraction(self.eps)})"

    def norm(self, delta: Tensor) -> Tensor:
        """Return sum_i |delta_i|."""
        return _wide(delta).abs().sum(_PIXELS)

    def dual_norm(self, gradient: Tensor) -> Tensor:
        """Return the l_inf norm."""
        return _largest(_wide(gradient)).flatten()

    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """Return clip(x + sign(d) max(|d| - c, 0), 0, 1) with the least c >= 0 that is in the ball.

        Croce & Hein, "Mind the box" (ICML 2021), Proposition 2.1.
        """
        centre, target = _wide(x), _wide(moved)
        d = target - centre
        length, room, zero = d.abs(), _room(d, centre), d.new_zeros(())

        def inside(cut: Tensor) -> Tensor:
            return (length - cut).clamp_(zero, room).sum(_PIXELS, keepdim=True) <= self.eps

        cut = _least_float(inside, length)
        z = centre + d.sign_() * length.sub_(cut).clamp_(min=0)
        # A point inside stays where it is, to the last bit.
        return torch.where(cut > 0, z, target).clamp_(0, 1).to(x.dtype)

    def steepest_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return argmax <g, d> over ||d||_1 <= size with at + d in [0, 1].

        A fractional knapsack (Croce & Hein 2021, Proposition 2.2): the pixels with the largest |g|
        move to the edge of the box until ``size`` is used up. Pixels that tie for the last place
        share what is left.
        """
        g = _wide(gradient)
        steepness, room = g.abs(), _room(g, _wide(at))

        def affordable(level: Tensor) -> Tensor:
            above = (steepness - level).sign_().clamp_(min=0)
            return above.mul_(room).sum(_PIXELS, keepdim=True) <= size

        rank = (steepness - _least_float(affordable, steepness)).sign_()  # 1 above, 0 at the level
        first, last = rank.clamp(min=0).mul_(room), (1 - rank.abs_()).mul_(room)
        left = size - first.sum(_PIXELS, keepdim=True)
        share = (left / _positive(last.sum(_PIXELS, keepdim=True))).clamp_(0, 1)
        return (g.sign() * first.add_(last.mul_(share))).to(gradient.dtype)

    def search_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return the steepest step in l_2, size / sqrt(eps) * g / ||g||_2 (eps < 1: size).

        In l_2 the farthest points of ball and box are sqrt(eps) from x, or eps if that is less: so
        long is a step of one radius. It moves all pixels; what the projection leaves is sparse
        where the gradient is, and after long steps. The steepest step in l_1 moves few
        pixels, to the edge of the box. A network that is trained on such steps resists them and
        nothing else in the ball (Jiang et al. 2023, "Towards Stable and Efficient Adversarial
        Training against l1 Bounded Adversarial Attacks").
        """
        return L2(self.eps).steepest_step(gradient, size / max(1, math.sqrt(self.eps)), at)

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a Laplace direction and the radius eps * U^(1/n), n the number of pixels."""
        lengths = _uniform(x.shape, x, generator).neg_().log1p_().neg_()  # exponential
        signs = _uniform(x.shape, x, generator).sub_(0.5)
        radius = self.eps * _relative_radius(x, generator)
        lengths.mul_(radius / _positive(lengths.sum(_PIXELS, keepdim=True)))
        return _clipped(x, torch.copysign(lengths, signs))


def _room(direction: Tensor, centre: Tensor) -> Tensor:
    """Return how far each pixel may move: 1 - centre upwards, centre downwards."""
    return direction.sign().clamp_(min=0).sub_(centre).abs_()  # torch.where is far slower


def _scale_to_radius(speed: Tensor, room: Tensor, eps: float) -> Tensor:
    """Solve sum_i min(u * speed_i, room_i) = eps^2 for u >= 0 and return sqrt(u), (N, 1, 1, 1).

    ``speed`` and ``room`` are squared lengths. The sum is concave in u and piecewise linear, so
    Newton's method from below rises to the root, stays below it, and is exact once the set of
    pixels at their ``room`` no longer grows.
    """
    budget = eps**2
    u = budget / _positive(speed.sum(_PIXELS, keepdim=True))
    asks = asking_is_free(u.device)
    for _ in range(_NEWTON_STEPS if asks else _NEWTON_STEPS_UNSEEN):
        spent = torch.minimum(u * speed, room)
        left = (budget - spent.sum(_PIXELS, keepdim=True)).clamp_(min=0)
        if asks and not (left > _NEGLIGIBLE * budget).any():
            break
        moving = (room - spent).sign_()  # 1 for pixels that are not at their room yet
        u = u + left / _positive(moving.mul_(speed).sum(_PIXELS, keepdim=True))
        u.clamp_(max=torch.finfo(u.dtype).max)  # infinity times a speed of zero would be NaN
    return u.sqrt()


def _least_float(accept: Callable[[Tensor], Tensor], most: Tensor) -> Tensor:
    """Return for every image the least float c in [0, max ``most``] that ``accept`` accepts.

    ``accept`` maps (N, 1, 1, 1) to booleans, must be monotone, and must accept the maximum. The
    bisection is over the bit patterns of floats, which have the same order as the floats. It ends
    at the exact answer after 31 halvings (63 in double precision) at any scale, and is faster than
    sorting.
    """
    pattern = torch.int32 if most.dtype == torch.float32 else torch.int64
    high = most.amax(_PIXELS, keepdim=True).view(pattern)
    low = torch.full_like(high, -1)
    for _ in range(torch.iinfo(pattern).bits - 1):
        middle = high - (high - low) // 2
        accepted = accept(middle.view(most.dtype))
        high, low = middle.where(accepted, high), low.where(accepted, middle)
    return high.view(most.dtype)


def _largest(t: Tensor) -> Tensor:
    """Return max_i |t_i| of every image, (N, 1, 1, 1)."""
    return t.abs().amax(_PIXELS, keepdim=True)


def _largest_is_one(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return t / max_i |t_i|, whose squares neither overflow nor all underflow, and the max."""
    largest = _largest(t)
    return t / _positive(largest), largest


def _euclidean(t: Tensor) -> Tensor:
    """Return ||t||_2 of every image, (N, 1, 1, 1), for values of ordinary size."""
    norm: Tensor = torch.linalg.vector_norm(t, 2, _PIXELS, keepdim=True)
    return norm


def _positive(t: Tensor) -> Tensor:
    """Return t >= 0 with zeros replaced by the smallest normal number, as a divisor."""
    return t.clamp_min(torch.finfo(t.dtype).tiny)


def _wide_dtype(t: Tensor) -> torch.dtype:
    return torch.promote_types(t.dtype, torch.float32)


def _wide(t: Tensor) -> Tensor:
    """Return ``t`` in float32, or unchanged if it is wider."""
    return t.to(_wide_dtype(t))


def _uniform(shape: tuple[int, ...], x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, dtype=_wide_dtype(x), device=x.device, generator=generator)


def _relative_radius(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw U^(1/n), the distance of a uniform point of an n-ball from its centre, (N, 1, 1, 1)."""
    return _uniform((len(x), 1, 1, 1), x, generator).pow_(1 / math.prod(x.shape[1:]))


def _clipped(x: Tensor, delta: Tensor) -> Tensor:
    return (_wide(x) + delta).clamp_(0, 1).to(x.dtype)
