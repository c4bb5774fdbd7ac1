"""Pixelate and elastic deformation of CIFAR-10-C: pixels resampled from the image."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.perturbations.corruptions.base import Corruption, levels

_COARSER = (0.95, 0.9, 0.85, 0.75, 0.65)
_ELASTIC = (
    (0.0, 0.0, 0.08),
    (0.05, 0.2, 0.07),
    (0.08, 0.06, 0.06),
    (0.1, 0.04, 0.05),
    (0.1, 0.03, 0.03),
)
"""Size and smoothness of the displacements, and shift of the corners: shares of the side."""


@dataclass(frozen=True)
class Pixelate(Corruption):
    """Resized to 95 to 65% of the pixels each way, and back, with Pillow's box filter."""

    name: ClassVar[str] = "pixelate"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Pixelate; nothing is drawn. Columns come first and are rounded, as in Pillow."""
        share = _COARSER[self.severity - 1]
        down, right = (
            _box(side, max(1, int(side * share)), x.device, x.dtype) for side in x.shape[2:]
        )
        rounded = (levels(x) @ right.T).add_(0.5).floor_()
        return (down @ rounded).add_(0.5).floor_().div_(255)


@dataclass(frozen=True)
class Elastic(Corruption):
    """An affine map, then a smooth random displacement of every pixel.

    The affine map moves three corners of the middle third by uniform numbers. Displacements are
    uniform noise, smoothed by a Gaussian and scaled. Both resample bilinearly, and the image is
    mirrored at its border. Severity 1 is only the affine map, the strongest of the five.
    """

    name: ClassVar[str] = "elastic"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Deform with six uniform numbers per image and, from severity 2 on, two per pixel."""
        n, _, height, width = x.shape
        size, smoothness, corners = (c * min(height, width) for c in _ELASTIC[self.severity - 1])

        def uniform(*shape: int) -> Tensor:
            drawn = torch.rand(shape, device=x.device, dtype=x.dtype, generator=generator)
            return drawn.mul_(2).sub_(1)

        moved = _affine(x, uniform(n, 3, 2) * corners)
        if not size:
            return moved
        noise = uniform(n, 2, height, width)
        down, right = (_smoothing(side, smoothness, x.device, x.dtype) for side in (height, width))
        row, column = (down @ noise @ right.T).mul_(size).unbind(1)
        row += torch.arange(height, device=x.device).view(1, -1, 1)
        column += torch.arange(width, device=x.device).view(1, 1, -1)
        return sampled(moved, row, column, mirror_on_edge=True)


def _affine(x: Tensor, shifts: Tensor) -> Tensor:
    """Return the images after the affine map that moves three points by ``shifts``.

    With s a third of the side and c the centre the points are c + (s, s), c + (s, -s) and
    c - (s, s), as (column, row); x'(p) = x(A^-1 p).

    Args:
        x: (N, C, H, W).
        shifts: (N, 3, 2) in pixels, (column, row).
    """
    height, width = x.shape[2:]
    third = max(1, min(height, width) // 3)
    first, second, last = (shifts / (2 * third)).unbind(1)
    # columns of the linear part: the images of a step to the right and of a step down
    a, c = (second - last).unbind(1)
    b, d = (first - second).unbind(1)
    a, d = a + 1, d + 1
    # relative to the image of the midpoint between the first and the last point
    middle = (shifts[:, 0] + shifts[:, 2]) / 2
    off_column = torch.arange(width, device=x.device) - width // 2 - middle[:, :1]
    off_row = torch.arange(height, device=x.device) - height // 2 - middle[:, 1:]
    off_column, off_row = off_column[:, None, :], off_row[:, :, None]
    a, b, c, d = ((t / (a * d - b * c)).view(-1, 1, 1) for t in (a, b, c, d))
    column = width // 2 + d * off_column - b * off_row
    row = height // 2 + a * off_row - c * off_column
    return sampled(x, row, column, mirror_on_edge=False)


def sampled(x: Tensor, row: Tensor, column: Tensor, *, mirror_on_edge: bool) -> Tensor:
    """Return x at positions (N, H, W) in pixels, bilinearly, mirrored at the border.

    The mirror is the outer edge of the outermost pixels (c b a | a b c) or their centres (c b | a
    b c).
    """
    height, width = x.shape[2:]
    if mirror_on_edge:
        places = [(2 * column + 1) / width - 1, (2 * row + 1) / height - 1]
    else:
        places = [2 * column / max(1, width - 1) - 1, 2 * row / max(1, height - 1) - 1]
    return F.grid_sample(
        x, torch.stack(places, 3), padding_mode="reflection", align_corners=not mirror_on_edge
    )


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _box(side: int, fewer: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the matrix (side, side) that averages to ``fewer`` pixels and repeats them.

    A pixel of the result belongs to the coarse pixel under its centre, which is the mean of the
    pixels whose centres it covers.
    """
    rows = torch.zeros(side, side, dtype=dtype, device="cpu")
    for pixel in range(side):
        (coarse,) = _covered(fewer, side, pixel)
        inside = _covered(side, fewer, coarse)
        rows[pixel, inside] = 1 / len(inside)
    return rows.to(device)


def _covered(before: int, after: int, pixel: int) -> list[int]:
    """Return which of ``before`` pixels make up one of ``after`` pixels.

    Centres that lie exactly on an edge go to one side or the other by the last bits, so every step
    here is one of ``precompute_coeffs`` in Pillow's Resample.c.
    """
    scale = before / after
    widest = max(scale, 1.0)
    support = 0.5 * widest
    centre, narrow = (pixel + 0.5) * scale, 1.0 / widest
    first, end = int(centre - support + 0.5), int(centre + support + 0.5)
    near = range(max(0, first), min(before, end))
    return [p for p in near if -0.5 < (p - centre + 0.5) * narrow <= 0.5]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _smoothing(side: int, deviation: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the matrix (side, side) of a Gaussian cut at three deviations; edges are mirrored."""
    reach = int(3 * deviation + 0.5)
    weights = {k: math.exp(-(k**2) / (2 * deviation**2)) for k in range(-reach, reach + 1)}
    total = sum(weights.values())
    matrix = [[0.0] * side for _ in range(side)]
    for pixel in range(side):
        for k, weight in weights.items():
            across = (pixel + k) % (2 * side)
            matrix[pixel][min(across, 2 * side - 1 - across)] += weight / total
    return torch.tensor(matrix, device=device, dtype=dtype)
