"""Weather, warps and colours that an attacker chooses, each with a budget.

They follow the attacks of Kaufmann et al. (2019, "Testing robustness against unforeseen
adversaries"), with the spatial flow of Xiao et al. (2018, StAdv) and the change of colours of
Laidlaw & Feizi (2019, ReColorAdv). All are searched by PGD in their points (``parametric``). Images
are in float32 or wider; lengths are shares of the shorter side.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.core.number_checks import check_numbers
from morex.perturbations.corruptions.blur import streaked
from morex.perturbations.corruptions.plasma import plasma_side
from morex.perturbations.corruptions.resampling import sampled
from morex.perturbations.corruptions.smoothing import smoothed
from morex.perturbations.corruptions.weather import fogged
from morex.perturbations.parametric import Parametric, uniform_points


@dataclass(frozen=True)
class AdversarialFog(Parametric):
    """Hendrycks' fog whose patches are chosen: x' = (x + density plasma) m / (m + density).

    Args:
        density: the weight of the fog; CIFAR-10-C has 0.2 to 1.5.
        decay: how much smoother small details of the fog are than large ones, above 1.

    Raises:
        ValueError: if a number is out of its range.
    """

    name: ClassVar[str] = "adversarial-fog"

    density: float
    decay: float = 2.0

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        _require(self, self.density >= 0 and self.decay > 1, "density >= 0 and decay > 1")

    def scaled(self, factor: float) -> Self:
        """Return the fog with ``factor`` times the density."""
        return replace(self, density=self.density * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the roughness of the plasma in every point but the first."""
        return uniform_points(x, plasma_side(*x.shape[2:]) ** 2 - 1, generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images in fog."""
        if not self.density:
            return x
        return fogged(x, point, self.density, self.decay).clamp(0, 1)


@dataclass(frozen=True)
class AdversarialSnow(Parametric):
    """Streaks of snow whose brightness is chosen: x' = x + streaks + streaks turned around.

    Where flakes are and in which direction they fall is drawn with every start of a search.

    Args:
        brightness: of the brightest flake, before it is blurred to a streak.
        flakes: the share of pixels with a flake, in [0, 1].

    Raises:
        ValueError: if a number is out of its range.
    """

    name: ClassVar[str] = "adversarial-snow"
    has_middle: ClassVar[bool] = False  # no flakes there

    brightness: float
    flakes: float = 0.1

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        sound = self.brightness >= 0 and 0 <= self.flakes <= 1
        _require(self, sound, "brightness >= 0 and flakes in [0, 1]")

    def scaled(self, factor: float) -> Self:
        """Return the snow with ``factor`` times the brightness."""
        return replace(self, brightness=self.brightness * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the brightness and the place of flakes, both per pixel, and a direction."""
        return uniform_points(x, 2 * x.shape[2:].numel() + 1, generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images with streaks of 20 pixels, within 45 degrees of straight down."""
        pixels = x.shape[2:].numel()
        light, place, turn = point.split([pixels, pixels, 1], 1)  # type: ignore[no-untyped-call]
        flakes = torch.where(place < 2 * self.flakes - 1, (light + 1) / 2, 0) * self.brightness
        angle = (turn.detach() / 4 - 0.5) * math.pi
        streaks = streaked(flakes.view(-1, 1, *x.shape[2:]), angle[:, :, None], 10, 4)
        return (x + streaks + streaks.flip(2, 3)).clamp(0, 1)


@dataclass(frozen=True)
class AdversarialElastic(Parametric):
    """A smooth displacement of all pixels: x'(q) = x(q + shift G * p(q)), G a Gaussian.

    Args:
        shift: the largest displacement, down and to the right, as a share of the side.
        smoothness: standard deviation of the Gaussian, as a share of the side.

    Raises:
        ValueError: if a number is negative.
    """

    name: ClassVar[str] = "adversarial-elastic"

    shift: float
    smoothness: float = 0.1

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        _require(self, self.shift >= 0 and self.smoothness >= 0, "shift and smoothness >= 0")

    def scaled(self, factor: float) -> Self:
        """Return the same with ``factor`` times the displacement."""
        return replace(self, shift=self.shift * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return two numbers per pixel."""
        return uniform_points(x, 2 * x.shape[2:].numel(), generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images after the displacement."""
        return _displaced(x, point, self.shift, self.smoothness)


@dataclass(frozen=True)
class Flow(Parametric):
    """A displacement of every pixel by itself: the flow of StAdv, with a budget for its length.

    StAdv penalises flows that are not smooth; here none is longer than ``shift``.

    Args:
        shift: the largest displacement, down and to the right, as a share of the side.

    Raises:
        ValueError: if ``shift`` is negative.
    """

    name: ClassVar[str] = "flow"

    shift: float

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        _require(self, self.shift >= 0, "shift >= 0")

    def scaled(self, factor: float) -> Self:
        """Return the same with ``factor`` times the displacement."""
        return replace(self, shift=self.shift * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return two numbers per pixel."""
        return uniform_points(x, 2 * x.shape[2:].numel(), generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images after the displacement."""
        return _displaced(x, point, self.shift, 0.0)


@dataclass(frozen=True)
class Recolor(Parametric):
    """A new colour for every colour, the same everywhere in an image (ReColorAdv).

    x' = x + eps d(x): d is chosen on a grid of colours, and interpolated in between. The colours
    are RGB; the original uses CIELUV, and asks for a smooth d instead of a coarse grid.

    Args:
        eps: the largest change of a channel.
        cells: points of the grid along each channel, at least 2.

    Raises:
        ValueError: if a number is out of its range.
    """

    name: ClassVar[str] = "recolor"

    eps: float
    cells: int = 6

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        _require(self, self.eps >= 0 and 2 <= self.cells <= 64, "eps >= 0 and cells from 2 to 64")

    def scaled(self, factor: float) -> Self:
        """Return the same with ``factor`` times the change."""
        return replace(self, eps=self.eps * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return three numbers for each colour of the grid."""
        return uniform_points(x, 3 * self.cells**3, generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images in new colours; a single channel is taken as grey.

        Raises:
            ValueError: if ``x`` has neither one nor three channels.
        """
        if x.shape[1] not in (1, 3):
            raise ValueError(
                f"Recolor needs RGB or grey images, (N, 3, H, W) or (N, 1, H, W), got "
                f"{tuple(x.shape)}"
            )
        colours = x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)[:, None] * 2 - 1
        grid = point.view(-1, 3, self.cells, self.cells, self.cells)
        change = F.grid_sample(grid, colours, align_corners=True)[:, : x.shape[1], 0]
        return (x + self.eps * change).clamp(0, 1)


@dataclass(frozen=True)
class Patch(Parametric):
    """A square that an attacker paints, at a given place or at one drawn with every start.

    With several restarts a search also looks for a place.

    Args:
        side: of the square, as a share of the shorter side, in [0, 1].
        place: how far it is from the top and from the left, as shares of the room that it leaves,
            in [0, 1]; (0.5, 0.5) is the middle. None for a drawn place.

    Raises:
        ValueError: if a number is not in [0, 1].
    """

    name: ClassVar[str] = "patch"

    side: float
    place: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        _require(self, 0 <= self.side <= 1, "side in [0, 1]")
        _require(self, all(0 <= p <= 1 for p in self.place or ()), "both of place in [0, 1]")

    def scaled(self, factor: float) -> Self:
        """Return a square of ``factor`` times the side."""
        return replace(self, side=self.side * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return all values of an image, and the place of the square."""
        return uniform_points(x, x.shape[1:].numel() + 2, generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images with the square painted over."""
        height, width = x.shape[2:]
        side = round(self.side * min(height, width))
        paint = (point[:, 2:].reshape(x.shape) + 1) / 2
        start = (point[:, :2].detach() + 1) / 2
        if self.place:
            start = start.new_tensor(self.place).expand_as(start)
        top = (start[:, :1] * (height - side + 1)).floor().clamp(max=height - side)
        left = (start[:, 1:] * (width - side + 1)).floor().clamp(max=width - side)
        rows = torch.arange(height, device=x.device) - top
        columns = torch.arange(width, device=x.device) - left
        inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[
            :, None
        ]
        return torch.where(inside[:, None], paint.to(x.dtype), x)


def _displaced(x: Tensor, point: Tensor, shift: float, smoothness: float) -> Tensor:
    """Return x(q + shift G * p(q)), bilinearly; the image is mirrored at its border."""
    height, width = x.shape[2:]
    side = min(height, width)
    field = point.view(-1, 2, height, width)
    if smoothness:
        field = smoothed(field, smoothness * side)
    row, column = (field * (shift * side)).unbind(1)
    row = row + torch.arange(height, device=x.device).view(1, -1, 1)
    column = column + torch.arange(width, device=x.device).view(1, 1, -1)
    return sampled(x, row, column, mirror_on_edge=True).clamp(0, 1)


def _require(perturbation: Parametric, sound: bool, expected: str) -> None:
    if not sound:
        raise ValueError(f"{perturbation}: expected {expected}")
