"""Spatter of CIFAR-10-C: drops of water or mud on the lens.

Water needs edges, distances and an equalised histogram. They are those of OpenCV, which made the
published files, for the whole batch and without asking the device.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.core.asking import asking_is_free
from morex.perturbations.corruptions.base import Corruption
from morex.perturbations.corruptions.blur import mirrored
from morex.perturbations.corruptions.smoothing import colour, smoothed

_WATER, _MUD = (175, 238, 238), (63, 42, 20)
_WEAK, _STRONG = 50, 150
"""Slopes of an edge: one above the second starts it, those above the first continue it."""

_FARTHEST = 20
_STEPS = ((0, 1, 1.0), (1, 1, 1.4), (1, 2, 2.1969), (2, 1, 2.1969))
"""Rows, columns and length of the steps by which distances are measured."""

_EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


@dataclass(frozen=True)
class _Drops:
    """The drops of a severity.

    Attributes:
        mean, deviation: of the normal numbers that become drops.
        smooth: standard deviation of their smoothing, in pixels.
        least: what is darker is no drop.
        strength: weight of the water, or standard deviation of the edges of mud.
    """

    mean: float
    deviation: float
    smooth: float
    least: float
    strength: float


_SPATTER = (
    _Drops(0.62, 0.1, 0.7, 0.7, 0.5),
    _Drops(0.65, 0.1, 0.8, 0.7, 0.5),
    _Drops(0.65, 0.3, 1.0, 0.69, 0.5),
    _Drops(0.65, 0.1, 0.7, 0.69, 0.6),
    _Drops(0.65, 0.1, 0.5, 0.68, 0.6),
)


@dataclass(frozen=True)
class Spatter(Corruption):
    """Drops of water, which lighten the image, or from severity 4 on of mud, which cover it."""

    name: ClassVar[str] = "spatter"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one normal number per pixel."""
        kind = _SPATTER[self.severity - 1]
        size = (len(x), 1, *x.shape[2:])
        drawn = torch.randn(size, device=x.device, dtype=x.dtype, generator=generator)
        drops = smoothed(drawn * kind.deviation + kind.mean, kind.smooth)
        if self.severity > 3:
            mud = smoothed((drops > kind.least).to(x.dtype), kind.strength)
            mud = torch.where(mud < 0.8, 0, mud)
            return x * (1 - mud) + colour(_MUD, x.shape[1], x) * mud
        drops = torch.where(drops < kind.least, 0, drops)
        return x + colour(_WATER, x.shape[1], x) * _water(drops) * kind.strength


def _water(drops: Tensor) -> Tensor:
    """Return how much water there is, up to 1, from drops (N, 1, H, W): an embossed relief."""
    liquid = (drops * 255).floor_().remainder_(256)  # levels of 8 bits, which overflow
    depth = _mean_nearby(_distance(_edges(liquid))).floor_()
    relief = _mean_nearby(_embossed(_equalised(depth))).round_()
    water = liquid * relief
    most = water.amax((2, 3), keepdim=True)
    return water / torch.where(most > 0, most, 1)


def _edges(x: Tensor) -> Tensor:
    """Return the edges that Canny finds in levels, (N, 1, H, W) of bool."""
    around = F.pad(x, (1, 1, 1, 1), mode="replicate")
    column = around[:, :, :-2] + 2 * around[:, :, 1:-1] + around[:, :, 2:]
    row = around[..., :-2] + 2 * around[..., 1:-1] + around[..., 2:]
    right, down = column[..., 2:] - column[..., :-2], row[:, :, 2:] - row[:, :, :-2]
    slope = right.abs() + down.abs()
    candidates = _ridges(slope, right, down) & (slope > _WEAK)
    return _grown(candidates & (slope > _STRONG), candidates)


def _ridges(slope: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Return where the slope is not below that of its neighbours uphill and downhill."""
    flat = 13573 / 2**15  # OpenCV's tangent of 22.5 degrees
    near = F.pad(slope, (1, 1, 1, 1))
    height, width = slope.shape[2:]

    def at(rows: int, columns: int) -> Tensor:
        return near[:, :, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    across = (slope > at(0, -1)) & (slope >= at(0, 1))
    along = (slope > at(-1, 0)) & (slope >= at(1, 0))
    falling = (slope > at(-1, -1)) & (slope > at(1, 1))
    rising = (slope > at(-1, 1)) & (slope > at(1, -1))
    diagonal = torch.where((right < 0) ^ (down < 0), rising, falling)
    steep = down.abs() > right.abs() * (flat + 2)
    return torch.where(down.abs() < right.abs() * flat, across, torch.where(steep, along, diagonal))


def _grown(seeds: Tensor, within: Tensor) -> Tensor:
    """Return the parts of ``within`` that touch a seed, over corners too.

    Paths longer than the two sides of the image are cut, so that the device is not asked.
    """
    for _ in range(sum(seeds.shape[2:])):
        near = F.max_pool2d(seeds.to(torch.float32), 3, 1, 1) > 0
        grown = near & within
        if asking_is_free(seeds.device) and torch.equal(grown, seeds):
            break
        seeds = grown
    return seeds


def _distance(edges: Tensor) -> Tensor:
    """Return the distance to the nearest edge in pixels, at most 20: OpenCV's for 5x5 masks."""
    far = torch.where(edges, 0.0, float(_FARTHEST))
    height, width = edges.shape[2:]
    for _ in range(_FARTHEST):
        around = F.pad(far, (2, 2, 2, 2), value=_FARTHEST)
        nearer = far
        for rows, columns, length in _neighbours():
            there = around[:, :, 2 + rows :, 2 + columns :][:, :, :height, :width]
            nearer = torch.minimum(nearer, there + length)
        if asking_is_free(edges.device) and torch.equal(nearer, far):
            break
        far = nearer
    return far


def _neighbours() -> list[tuple[int, int, float]]:
    """Return the steps in all directions."""
    steps = [(rows, columns, length) for rows, columns, length in _STEPS]
    turned = [(columns, -rows, length) for rows, columns, length in steps]
    half = steps + turned
    return half + [(-rows, -columns, length) for rows, columns, length in half]


def _mean_nearby(x: Tensor) -> Tensor:
    """Return means of 3x3 pixels; the border is mirrored."""
    return F.avg_pool2d(_around(x), 3, 1)


def _embossed(x: Tensor) -> Tensor:
    around, (height, width) = _around(x), x.shape[2:]
    weighted = [
        around[:, :, row : row + height, column : column + width] * weight
        for row, weights in enumerate(_EMBOSS)
        for column, weight in enumerate(weights)
    ]
    return torch.stack(weighted).sum(0).clamp_(0, 255)


def _around(x: Tensor) -> Tensor:
    return mirrored(mirrored(x, x.shape[3], (1, 1, 0, 0)), x.shape[2], (0, 0, 1, 1))


def _equalised(levels: Tensor) -> Tensor:
    """Return levels whose histogram is even: OpenCV's ``equalizeHist``; one level alone stays."""
    flat = levels.flatten(1).long()
    counts = flat.new_zeros(len(flat), 256).scatter_add_(1, flat, torch.ones_like(flat))
    least = flat.amin(1, keepdim=True)
    lowest = counts.gather(1, least)
    total = flat.shape[1]
    below = (counts.cumsum(1) - lowest).clamp_min_(0)
    scale = 255 / (total - lowest).clamp_min(1).to(torch.float32)
    even = (below * scale).round_().gather(1, flat)
    return torch.where(lowest == total, flat.to(even.dtype), even).view(levels.shape)
