"""Defocus, Gaussian, glass, motion and zoom blur of CIFAR-10-C: means over pixels nearby."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.perturbations.corruptions.base import Corruption
from morex.perturbations.corruptions.smoothing import smoothed

_DISKS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
"""Radius of the disk, and standard deviation of the Gaussian that smooths it, in pixels."""

_STREAKS = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
"""Radius and standard deviation, in pixels, as ImageMagick defines them."""

_ZOOMS = (7, 12, 16, 21, 26)
"""Numbers of magnifications by 1.00, 1.01, ...: rounding adds one to the first two."""

_ZOOM_STEP = 1.01 - 1
"""Slightly more than 0.01, as in ``numpy.arange``: 26 pixels times 1.25 round to 33."""

_SMOOTH = (0.4, 0.6, 0.7, 0.8, 1.0)
"""Standard deviations of the Gaussian blur, in pixels."""

_GLASS = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))
"""Standard deviation of the two Gaussians, in pixels, and how often pixels are displaced."""

_NEGLIGIBLE = 1e-4
"""Smaller weights are left out; together they change less than a tenth of a level."""


@dataclass(frozen=True)
class DefocusBlur(Corruption):
    """The mean over a disk with a smoothed edge; the border of the image is mirrored."""

    name: ClassVar[str] = "defocus-blur"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Blur; nothing is drawn."""
        height, width = x.shape[2:]
        around = mirrored(mirrored(x, width, (1, 1, 0, 0)), height, (0, 0, 1, 1))
        blurred = torch.zeros_like(x)
        for (row, column), weight in _disk(*_DISKS[self.severity - 1]).items():
            shifted = around[:, :, row : row + height, column : column + width]
            blurred.add_(shifted, alpha=weight)
        return blurred


@dataclass(frozen=True)
class MotionBlur(Corruption):
    """Half a Gaussian along a line, x'(p) = sum_k w_k x(p + k u), w_k ~ exp(-k^2 / 2 s^2).

    The direction u is drawn for every image, within 45 degrees of the horizontal. Positions are
    rounded to pixels and the border is repeated, as in ImageMagick, which made the published
    files.
    """

    name: ClassVar[str] = "motion-blur"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Blur every image along a uniform angle."""
        drawn = torch.rand((len(x), 1, 1), device=x.device, dtype=x.dtype, generator=generator)
        angle = (drawn * 2 - 1) * (math.pi / 4)
        return streaked(x, angle, *_STREAKS[self.severity - 1])


@dataclass(frozen=True)
class GaussianBlur(Corruption):
    """A Gaussian of 0.4 to 1 pixels; the border of the image is repeated."""

    name: ClassVar[str] = "gaussian-blur"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Blur; nothing is drawn."""
        return smoothed(x, _SMOOTH[self.severity - 1])


@dataclass(frozen=True)
class GlassBlur(Corruption):
    """Gaussian blur, then pixels displaced at random, then the Gaussian blur again.

    A pixel takes the value that it or its neighbour to the left, above or above left had, each with
    probability 1/4. The first two rows and columns stay. The published code means to swap the two
    pixels, but copies one to the other; the published files were made by it.
    """

    name: ClassVar[str] = "glass-blur"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Blur with two draws for each pixel, once or twice."""
        deviation, times = _GLASS[self.severity - 1]
        whole = _smoothed_levels(x.double() * 255, deviation)
        for _ in range(times):
            whole = _displaced(whole, generator)
        return _smoothed_levels(whole, deviation).div_(255).to(x.dtype)


@dataclass(frozen=True)
class ZoomBlur(Corruption):
    """The mean of the image itself and of its magnifications by 1.00, 1.01, ... about the centre.

    The largest factor is 1.06 to 1.25, depending on the severity. Magnifications map whole pixels
    to whole pixels, bilinearly, so on small images several of them are the same.
    """

    name: ClassVar[str] = "zoom-blur"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Blur; nothing is drawn."""
        count = _ZOOMS[self.severity - 1]
        height, width = x.shape[2:]
        factors = [1 + k * _ZOOM_STEP for k in range(count)]
        sizes = Counter(
            (zoomed_side(height, factor), zoomed_side(width, factor)) for factor in factors
        )
        total = x.clone()
        for (rows, columns), times in sizes.items():
            total.add_(magnified(x, rows, columns), alpha=times)
        return total.div_(count + 1)


def streaked(x: Tensor, angle: Tensor, radius: int, deviation: float) -> Tensor:
    """Return x'(p) = sum_k w_k x(p + k u), w_k ~ exp(-k^2 / 2 s^2), for k = 0, ..., 2 radius.

    Args:
        x: (N, C, H, W).
        angle: of u for every image, (N, 1, 1): 0 is to the right, pi / 2 is down.
        radius, deviation: the number and the width s of the weights, in pixels.
    """
    channels, height, width = x.shape[1:]
    row = torch.arange(height, device=x.device).view(1, -1, 1)
    column = torch.arange(width, device=x.device).view(1, 1, -1)
    flat = x.flatten(2)
    blurred = torch.zeros_like(flat)
    for k, weight in enumerate(_half_gaussian(radius, deviation)):
        down, right = ((k * u - 0.5).ceil().long() for u in (angle.sin(), angle.cos()))
        rows, columns = (row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)
        pixels = (rows * width + columns).flatten(1)[:, None].expand(-1, channels, -1)
        blurred.add_(flat.gather(2, pixels), alpha=weight)
    return blurred.view(x.shape)


def _smoothed_levels(levels: Tensor, deviation: float) -> Tensor:
    """Return whole levels, from double precision: weights of 1e-7 decide where levels are cut."""
    return smoothed(levels.add(1e-4).floor_(), deviation).add_(1e-9).floor_()


def _displaced(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images with every pixel, but the first two rows and columns, moved by at most one.

    The original goes from the last pixel to the first and copies from pixels that it has not
    reached, so all pixels can be copied at once.
    """
    n, channels, height, width = x.shape
    if min(height, width) < 3:
        return x
    size = (n, height - 2, width - 2, 2)
    right, down = torch.randint(-1, 1, size, device=x.device, generator=generator).unbind(3)
    place = torch.arange(height * width, device=x.device).view(1, height, width)
    place = place + F.pad(down * width + right, (2, 0, 2, 0))
    pixels = place.flatten(1)[:, None].expand(-1, channels, -1)
    return x.flatten(2).gather(2, pixels).view(x.shape)


def mirrored(x: Tensor, side: int, pads: tuple[int, ...]) -> Tensor:
    """Pad one side with its second pixels; a side of a single pixel repeats it."""
    return F.pad(x, pads, mode="reflect" if side > 1 else "replicate")


@lru_cache
def _disk(radius: float, deviation: float) -> dict[tuple[int, int], float]:
    """Return the weights of the 3x3 pixels around a pixel, by row and column from 0 to 2.

    A disk on whole pixels is smoothed by three Gaussian weights each way.
    """
    near = range(-2, 3)
    disk = {p for p in product(near, near) if math.hypot(*p) <= radius}
    side = math.exp(-1 / (2 * deviation**2))
    smooth = {-1: side, 0: 1.0, 1: side}
    weights: defaultdict[tuple[int, int], float] = defaultdict(float)
    for (row, column), down, right in product(disk, smooth, smooth):
        weights[row + down + 1, column + right + 1] += smooth[down] * smooth[right]
    total = sum(weights.values())
    kept = {place: w for place, w in weights.items() if w / total >= _NEGLIGIBLE}
    return {place: w / sum(kept.values()) for place, w in kept.items()}


@lru_cache
def _half_gaussian(radius: int, deviation: float) -> tuple[float, ...]:
    """Return ImageMagick's weights at distances 0, 1, ..., 2 * radius, which sum to 1."""
    weights = [math.exp(-(k**2) / (2 * deviation**2)) for k in range(2 * radius + 1)]
    kept = [w for w in weights if w / sum(weights) >= _NEGLIGIBLE]
    return tuple(w / sum(kept) for w in kept)


def zoomed_side(side: int, factor: float) -> tuple[int, int]:
    """Return how many pixels of a side are magnified, and how many they become."""
    kept = math.ceil(side / factor)
    return kept, round(kept * factor)


def magnified(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Magnify the middle of the images, and crop the result to their size."""
    height, width = x.shape[2:]
    middle = _centred(x, rows[0], columns[0])
    larger = F.interpolate(middle, (rows[1], columns[1]), mode="bilinear", align_corners=True)
    return _centred(larger, height, width)


def _centred(x: Tensor, height: int, width: int) -> Tensor:
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]
