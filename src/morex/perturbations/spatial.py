"""Affine transformations of the image plane: rotation, translation, scale, shear.

A transformation is a point p of the box [-1, 1]^P, times its strength. p is drawn uniformly or
searched by an attack. The result is differentiable in p and in the image (bilinear). Pixels from
outside the image are black (Engstrom et al. 2019, "Exploring the landscape of spatial robustness").
Everything is computed in float32 or wider, under autocast too, and returned in the input's dtype.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.core.number_checks import check_numbers
from morex.perturbations.base import Transform
from morex.perturbations.parametric import Parametric


@dataclass(frozen=True)
class Spatial(Transform, Parametric):
    """An affine map of the image plane with ``parameters`` numbers in [-1, 1]."""

    parameters: ClassVar[int]

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the transformed images, with one draw per image.

        Args:
            x: (N, C, H, W) in [0, 1].
            generator: on the device of ``x``; N * parameters uniform numbers are drawn.
        """
        return self.apply(x, self.random_point(x, generator))

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a point for every image, (N, parameters)."""
        size = (len(x), self.parameters)
        drawn = torch.rand(size, generator=generator, device=x.device, dtype=torch.float32)
        return drawn * 2 - 1

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images transformed by ``point``, differentiable in both.

        Args:
            x: (N, C, H, W) in [0, 1].
            point: (N, parameters) in [-1, 1].
        """
        if not len(x):
            return x
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            matrix = self.matrix(point.to(wide.dtype), (x.shape[2], x.shape[3]))
            grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
            moved = F.grid_sample(wide, grid, mode="bilinear", align_corners=False)
            return moved.clamp(0, 1).to(x.dtype)

    @abstractmethod
    def matrix(self, point: Tensor, size: tuple[int, int]) -> Tensor:
        """Return where every pixel of the result comes from, in the format of ``affine_grid``.

        Args:
            point: (N, parameters) in [-1, 1].
            size: (H, W).

        Returns:
            (N, 2, 3), in coordinates from -1 to 1 across the image.
        """

    def scaled(self, factor: float) -> Self:
        """Return the same transform with every strength multiplied by ``factor``."""
        strengths = {f.name: getattr(self, f.name) * factor for f in fields(self)}
        return replace(self, **strengths)

    def _check(self) -> None:
        check_numbers(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{self}: {field.name} must be finite and >= 0, got {value}")


@dataclass(frozen=True)
class RotateTranslate(Spatial):
    """Rotation by up to ``degrees`` about the centre, then a shift by up to ``pixels`` each way.

    Args:
        degrees: the largest angle, in both directions.
        pixels: the largest shift, in pixels, in each of the four directions.

    Raises:
        ValueError: if a strength is negative or not finite.
    """

    name: ClassVar[str] = "rotate-translate"
    parameters: ClassVar[int] = 3

    degrees: float
    pixels: float

    def __post_init__(self) -> None:
        """Check the strengths."""
        self._check()

    def matrix(self, point: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the inverse map: p is (angle, shift to the right, shift downwards)."""
        height, width = size
        angle = point[:, 0] * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        right = point[:, 1] * self.pixels * 2 / width
        down = point[:, 2] * self.pixels * 2 / height
        ratio = height / width
        # out = R in + t in pixels, so in = R^-1 (out - t); coordinates are scaled to [-1, 1]
        first = torch.stack([cos, sin * ratio, -(cos * right + sin * ratio * down)], 1)
        second = torch.stack([-sin / ratio, cos, sin / ratio * right - cos * down], 1)
        return torch.stack([first, second], 1)


@dataclass(frozen=True)
class Scale(Spatial):
    """Magnification about the centre by a factor from 1 / (1 + percent / 100) to its inverse.

    Args:
        percent: 20 means factors from 1 / 1.2 to 1.2, uniform in the logarithm.

    Raises:
        ValueError: if ``percent`` is negative or not finite.
    """

    name: ClassVar[str] = "scale"
    parameters: ClassVar[int] = 1

    percent: float

    def __post_init__(self) -> None:
        """Check the strength."""
        self._check()

    def matrix(self, point: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the inverse map: division by (1 + percent / 100)^p."""
        shrink = torch.exp(-point[:, 0] * math.log1p(self.percent / 100))
        nothing = torch.zeros_like(shrink)
        first = torch.stack([shrink, nothing, nothing], 1)
        return torch.stack([first, torch.stack([nothing, shrink, nothing], 1)], 1)


@dataclass(frozen=True)
class Shear(Spatial):
    """Shear: rows are shifted in proportion to their distance from the middle row.

    Args:
        degrees: the largest angle by which vertical lines lean, in both directions; below 90.

    Raises:
        ValueError: if ``degrees`` is not in [0, 90).
    """

    name: ClassVar[str] = "shear"
    parameters: ClassVar[int] = 1

    degrees: float

    def __post_init__(self) -> None:
        """Check the strength."""
        self._check()
        if self.degrees >= 90:
            raise ValueError(f"Shear: degrees must be below 90, got {self.degrees}")

    def matrix(self, point: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the inverse map: x' = x - tan(angle) y."""
        height, width = size
        lean = (point[:, 0] * math.radians(self.degrees)).tan() * height / width
        one, nothing = torch.ones_like(lean), torch.zeros_like(lean)
        first = torch.stack([one, -lean, nothing], 1)
        return torch.stack([first, torch.stack([nothing, one, nothing], 1)], 1)
