"""Plasma: a random height map by the diamond-square algorithm, the fog of Hendrycks."""

import torch
from torch import Tensor

_WIBBLE = 100.0


def plasma(draws: Tensor, decay: float) -> Tensor:
    """Return height maps from 0 to 1, differentiable in the numbers that they are made of.

    A map of one point is refined until it has ``side`` points each way. Each refinement adds the
    middle of every square, then the middles of its sides: the mean of four neighbours and a draw
    times w^2. w is 100 at first and divided by ``decay`` after each refinement. The map repeats
    beyond its border.

    Args:
        draws: numbers in [-1, 1], (N, side^2 - 1), for a side that is a power of two: for each
            refinement those of the squares, of the upper sides and of the left sides.
        decay: how much smoother small details are than large ones; above 1.

    Returns:
        (N, side, side).
    """
    side = round((draws.shape[1] + 1) ** 0.5)
    heights, wibble, used = draws.new_zeros(len(draws), 1, 1), _WIBBLE, 0
    while heights.shape[1] < side:
        count = heights.shape[1] ** 2
        rough = draws[:, used : used + 3 * count] * wibble**2
        heights = _refined(heights, rough.view(len(draws), 3, *heights.shape[1:]))
        wibble, used = wibble / decay, used + 3 * count
    heights = heights - heights.amin((1, 2), keepdim=True)
    most = heights.amax((1, 2), keepdim=True)
    return heights / torch.where(most > 0, most, 1)


def plasma_side(height: int, width: int) -> int:
    """Return the least power of two that is not below the sides of an image."""
    return int(2 ** (max(height, width) - 1).bit_length())


def _refined(corners: Tensor, rough: Tensor) -> Tensor:
    """Return maps (N, 2k, 2k) from the corners (N, k, k) of squares and three draws for each."""
    centre, top, left = rough.unbind(1)
    below, beside = corners.roll(-1, 1), corners.roll(-1, 2)
    centres = (corners + below + beside + below.roll(-1, 2)) / 4 + centre
    tops = (centres + centres.roll(1, 1) + corners + beside) / 4 + top
    lefts = (centres + centres.roll(1, 2) + corners + below) / 4 + left
    rows = [torch.stack([corners, tops], 3), torch.stack([lefts, centres], 3)]
    n, k, _ = corners.shape
    return torch.stack(rows, 2).reshape(n, 2 * k, 2 * k)
