"""Rain and occlusion of Ozdag et al. (2019): things between the camera and the scene.

Both work on pixels in [0, 1] and are computed for the whole batch on its device.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from morex.core.number_checks import check_numbers
from morex.core.shards import images_at
from morex.perturbations.base import Transform

_REFERENCE = 32 * 32
"""The number of pixels that the number of drops refers to."""


@dataclass(frozen=True)
class Rain(Transform):
    """Grey streaks, one pixel wide, and less light: x' = brightness * (streaks over x).

    For every image one slant is drawn for all its streaks: straight down, or one pixel to the left
    over the length of a streak. The upper ends of the streaks are uniform over the image.

    Args:
        drops: number of streaks on 32x32 pixels; on other sizes it scales with the area.
        length: length of a streak, in pixels.
        grey: grey level of the streaks, in [0, 1]; 200/255 in the original.
        brightness: factor on the whole image, in [0, 1].

    Raises:
        ValueError: if a number is out of its range.
    """

    name: ClassVar[str] = "rain"

    drops: float = 60.0
    length: int = 6
    grey: float = 200 / 255
    brightness: float = 0.7

    def __post_init__(self) -> None:
        """Check the strengths."""
        check_numbers(self)
        if not 0 <= self.drops < math.inf or self.length < 1:
            raise ValueError(
                f"Rain needs finite drops >= 0 and length >= 1, got {self.drops} and {self.length}"
            )
        if not (0 <= self.grey <= 1 and 0 <= self.brightness <= 1):
            raise ValueError(
                f"Rain needs grey and brightness in [0, 1], got {self.grey} and {self.brightness}"
            )

    def scaled(self, factor: float) -> Self:
        """Return rain with ``factor`` times the drops and ``factor`` times the loss of light."""
        return type(self)(
            self.drops * factor, self.length, self.grey, 1 - (1 - self.brightness) * factor
        )

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the images in rain, differentiable outside the streaks.

        Args:
            x: (N, C, H, W) in [0, 1].
            generator: on the device of ``x``.
        """
        n, _, height, width = x.shape
        count = round(self.drops * height * width / _REFERENCE)
        with images_at(1):
            top, left = torch.rand(
                (2, n, count), generator=generator, device=x.device, dtype=torch.float32
            )
        slant = torch.randint(-1, 1, (n, 1), generator=generator, device=x.device)
        below = torch.arange(self.length, device=x.device)
        rows = (top * height).long()[..., None] + below
        columns = (left * width).long()[..., None] + (slant[..., None] * below) // self.length
        inside = (rows < height) & (columns >= 0)
        pixels = torch.where(inside, rows * width + columns, height * width)  # one too many
        streaks = x.new_zeros((n, height * width + 1)).scatter_(1, pixels.flatten(1), 1.0)
        mask = streaks[:, :-1].view(n, 1, height, width)
        return torch.lerp(x, torch.full_like(x, self.grey), mask) * self.brightness


@dataclass(frozen=True)
class Occlusion(Transform):
    """One filled black ellipse with a random centre, half-axes and angle.

    The half-axes are uniform from one pixel to ``share`` of the image's height and width, and the
    centre is uniform over the image.

    Args:
        share: the longest half-axis as a share of the image's side; 31/32 in the original.

    Raises:
        ValueError: if ``share`` is not in [0, 1].
    """

    name: ClassVar[str] = "occlusion"

    share: float = 0.5

    def __post_init__(self) -> None:
        """Check the strength."""
        check_numbers(self)
        if not 0 <= self.share <= 1:
            raise ValueError(f"Occlusion: share must be in [0, 1], got {self.share}")

    def scaled(self, factor: float) -> Self:
        """Return the occlusion whose longest half-axis is ``factor`` times as long."""
        return type(self)(self.share * factor)

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the images with their ellipses, differentiable in the visible pixels.

        Args:
            x: (N, C, H, W) in [0, 1].
            generator: on the device of ``x``; five uniform numbers are drawn per image.
        """
        n, _, height, width = x.shape
        size = (5, n, 1, 1)
        with images_at(1):
            drawn = torch.rand(size, generator=generator, device=x.device, dtype=torch.float32)
        if self.share == 0:
            return x
        middle_row, middle_column = drawn[0] * height, drawn[1] * width
        angle = drawn[2] * math.pi
        tall, wide = (
            1 + drawn[i] * max(self.share * side - 1, 0) for i, side in ((3, height), (4, width))
        )
        rows, columns = (
            torch.arange(side, device=x.device, dtype=torch.float32) for side in (height, width)
        )
        row = rows.view(1, -1, 1) + 0.5 - middle_row
        column = columns.view(1, 1, -1) + 0.5 - middle_column
        along = (row * angle.cos() + column * angle.sin()) / tall
        across = (column * angle.cos() - row * angle.sin()) / wide
        visible = (along.square() + across.square() > 1).to(x.dtype)
        return x * visible[:, None]
