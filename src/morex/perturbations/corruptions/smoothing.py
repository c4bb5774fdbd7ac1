"""Gaussian smoothing as the published code does it, and the shades of colours."""

import math
from functools import lru_cache

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def smoothed(x: Tensor, deviation: float) -> Tensor:
    """Return images (..., H, W) after a Gaussian cut at four deviations; the border is repeated."""
    down, right = (_gaussian(side, deviation, x.device, x.dtype) for side in x.shape[-2:])
    return down @ x @ right.T


def grey(x: Tensor) -> Tensor:
    """Return the luma of RGB images, or else the mean of the channels: (N, 1, H, W)."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    red, green, blue = _LUMA
    return red * x[:, :1] + green * x[:, 1:2] + blue * x[:, 2:]


def colour(levels: tuple[int, int, int], channels: int, like: Tensor) -> Tensor:
    """Return an RGB colour of levels up to 255 as (1, 3, 1, 1), or its luma as (1, 1, 1, 1)."""
    luma = sum(share * level for share, level in zip(_LUMA, levels, strict=True))
    values = levels if channels == 3 else (luma,)
    shape = (1, len(values), 1, 1)
    # filled on the device: copying from the host would wait
    return torch.cat([like.new_full((1, 1, 1, 1), value / 255) for value in values], 1).view(shape)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _gaussian(side: int, deviation: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the matrix (side, side) of the smoothing of one side."""
    reach = int(4 * deviation + 0.5)
    weights = {k: math.exp(-(k**2) / (2 * deviation**2)) for k in range(-reach, reach + 1)}
    total = sum(weights.values())
    matrix = [[0.0] * side for _ in range(side)]
    for pixel in range(side):
        for k, weight in weights.items():
            matrix[pixel][min(max(pixel + k, 0), side - 1)] += weight / total
    return torch.tensor(matrix, device=device, dtype=dtype)
