"""A linear model of two classes, and images at known distances from its boundary.

The model looks at the contrast between the first and the second half of an image's values. Within
Linf(eps) an attack can change that by 2 eps and no more, within L2(eps) by 2 eps / sqrt(192).
"""

import torch
from torch import Tensor, nn

from morex.data import ImageSet

SHAPE = (3, 8, 8)


def contrast(x: Tensor) -> Tensor:
    """Return the mean of the first half of every image less that of the second half, (N,)."""
    first, second = x.flatten(1).chunk(2, 1)
    return first.mean(1) - second.mean(1)


class Contrast(nn.Module):
    """Class 0 where the first half is brighter: logits 20 (c, -c), with the contrast c."""

    def forward(self, x: Tensor) -> Tensor:
        c = 20 * contrast(x)
        return torch.stack([c, -c], 1)


def with_contrasts(*contrasts: float) -> ImageSet:
    """Return an image of each contrast, to the nearest even level of 1/255, and its class."""
    half = torch.tensor([[round(255 * c / 2)] for c in contrasts])
    sign = torch.tensor([1] * 96 + [-1] * 96)
    pixels = (128 + half * sign).view(-1, *SHAPE).to(torch.uint8)
    return ImageSet(pixels, (half[:, 0] < 0).long(), ("first", "second"))


def halves(count: int, weak: float, strong: float) -> ImageSet:
    """Return ``count`` images, of both classes in turn, half near the boundary and half far."""
    cycle = (weak, -weak, strong, -strong)
    return with_contrasts(*(cycle[n % 4] for n in range(count)))
