"""Fog, snow and frost of CIFAR-10-C (Hendrycks & Dietterich 2019).

They are not the fog and snow of the MoRE paper (``morex.perturbations.weather``): this fog comes in
patches, and this snow falls in streaks. So their names say whose they are.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from morex.core.shards import images_at
from morex.perturbations.corruptions.base import Corruption
from morex.perturbations.corruptions.blur import magnified, streaked, zoomed_side
from morex.perturbations.corruptions.plasma import plasma, plasma_side
from morex.perturbations.corruptions.smoothing import grey

_FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
"""Density, and how smooth the patches are."""

_FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
"""Weights of image and frost."""

_PICTURES = (1, 2, 2, 4, 5)
"""The published code has six, of which it never uses the last; the third equals the second."""


@dataclass(frozen=True)
class _Flakes:
    """The flakes of a severity.

    Attributes:
        mean, deviation: of the normal numbers that become flakes.
        zoom: magnification of the flakes.
        least: what is darker is no flake.
        radius, blur: of the streaks, in pixels.
        light: weight of the image, as opposed to the image under a bright sky.
    """

    mean: float
    deviation: float
    zoom: float
    least: float
    radius: int
    blur: float
    light: float


_SNOW = (
    _Flakes(0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
    _Flakes(0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
    _Flakes(0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    _Flakes(0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    _Flakes(0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)


@dataclass(frozen=True)
class HendrycksFog(Corruption):
    """Fog in patches: x' = (x + c plasma) m / (m + c), m the largest value of the image.

    The plasma is drawn for every image; its side is the next power of two.
    """

    name: ClassVar[str] = "hendrycks-fog"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Add the fog with one draw for every point of the plasma but the first."""
        density, decay = _FOG[self.severity - 1]
        size = (len(x), plasma_side(*x.shape[2:]) ** 2 - 1)
        drawn = torch.rand(size, device=x.device, dtype=x.dtype, generator=generator)
        return fogged(x, drawn.mul_(2).sub_(1), density, decay)


def fogged(x: Tensor, draws: Tensor, density: float, decay: float) -> Tensor:
    """Return images in the fog of ``plasma(draws, decay)``, differentiable in both.

    Args:
        x: (N, C, H, W) in [0, 1].
        draws: in [-1, 1], (N, side^2 - 1), with the side of ``plasma_side``.
        density: the weight c of the fog.
        decay: see ``plasma``.
    """
    fog = plasma(draws, decay)[:, None, : x.shape[2], : x.shape[3]]
    most = x.amax((1, 2, 3), keepdim=True)
    return (x + density * fog) * (most / (most + density))


@dataclass(frozen=True)
class HendrycksSnow(Corruption):
    """Flakes blurred along a line, under a brighter sky.

    x' = a x + (1 - a) max(x, 1.5 grey + 0.5) + flakes + flakes turned by 180 degrees. The flakes
    are the large ones among normal numbers; they fall within 45 degrees of straight down.
    """

    name: ClassVar[str] = "hendrycks-snow"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Snow with a normal number per pixel and an angle per image."""
        n, _, height, width = x.shape
        kind = _SNOW[self.severity - 1]
        size = (n, 1, height, width)
        drawn = torch.randn(size, device=x.device, dtype=x.dtype, generator=generator)
        angle = torch.rand((n, 1, 1), device=x.device, dtype=x.dtype, generator=generator)
        sides = (zoomed_side(side, kind.zoom) for side in (height, width))
        layer = magnified(drawn * kind.deviation + kind.mean, *sides).clamp(0, 1)
        flakes = torch.where(layer < kind.least, 0, layer).mul_(255).floor_().div_(255)
        streaks = streaked(flakes, (angle / 2 - 0.75) * math.pi, kind.radius, kind.blur)
        streaks = streaks.mul_(255).add_(0.5).floor_().div_(255)
        return under_snow(x, streaks, kind.light)


def under_snow(x: Tensor, streaks: Tensor, light: float) -> Tensor:
    """Return images under a bright sky with ``streaks``, (N, 1, H, W), and these turned around."""
    bright = torch.maximum(x, 1.5 * grey(x) + 0.5)
    return light * x + (1 - light) * bright + streaks + streaks.flip(2, 3)


@dataclass(frozen=True)
class Frost(Corruption):
    """Ice in front of the camera: x' = a x + b ice, a place in one of five photographs of frost.

    The photographs are Hendrycks', at a fifth of their resolution, as CIFAR-10-C uses them. For
    images with a side above 32 they are enlarged in proportion.
    """

    name: ClassVar[str] = "frost"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Add the ice with three uniform numbers per image: photograph, row and column."""
        n, channels, height, width = x.shape
        kept, ice = _FROST[self.severity - 1]
        with images_at(1):
            drawn = torch.rand((3, n), device=x.device, dtype=torch.float64, generator=generator)
        pictures, sizes = _frost(max(height, width, 32), x.device, x.dtype)
        which = (drawn[0] * len(_PICTURES)).long()
        room = sizes[which] - torch.stack([torch.full_like(which, s) for s in (height, width)], 1)
        start = (drawn[1:].T * room).long()
        row = start[:, :1] + torch.arange(height, device=x.device)
        column = start[:, 1:] + torch.arange(width, device=x.device)
        frost = pictures[which[:, None, None], row[:, :, None], column[:, None]].movedim(3, 1)
        return x * kept + (frost if channels == 3 else grey(frost)) * ice


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _frost(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the photographs, (5, H, W, 3) in [0, 1] with zeros beyond, and their sizes, (5, 2)."""
    folder = files("morex.perturbations.corruptions") / "frost"
    pictures = []
    for number in _PICTURES:
        with (folder / f"frost{number}.png").open("rb") as file, Image.open(file) as image:
            levels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        pictures.append(_enlarged(levels[None].to(torch.float32) / 255, side / 32))
    sizes = torch.tensor([picture.shape[2:] for picture in pictures], device="cpu")
    high, wide = sizes.amax(0).tolist()
    padded = [F.pad(p, (0, wide - p.shape[3], 0, high - p.shape[2])) for p in pictures]
    return torch.cat(padded).permute(0, 2, 3, 1).to(device, dtype), sizes.to(device)


def _enlarged(x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    size = [round(side * factor) for side in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
