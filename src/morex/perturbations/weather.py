"""Weather of Ozdag et al. (2019), as the MoRE paper uses it: a uniform haze and bright snow.

Both work on 8-bit pixels, as the originals do: values are truncated to a multiple of 1/255, so that
only the weather distinguishes a transformed image from a clean one. Everything is computed for the
whole batch on its device, in float32 or wider, and returned in the dtype of the input.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from morex.core.number_checks import check_numbers
from morex.perturbations.base import Transform
from morex.perturbations.color import hls_to_rgb, rgb_to_hls
from morex.perturbations.parametric import Parametric, straight_through, uniform_points

_GUARD = 1e-4
"""Added, in levels of 1/255, before truncation: 255 * (k / 255) may land just below k."""

_LOWEST_SNOW_POINT, _SNOW_POINTS = 255 / 3, 255 / 2

_SOFT = 8.0
"""Width, in levels, of the edge at the snow point of which the gradient is taken."""

_PLANE = 2**16
"""Snow is computed for this many pixels at a time on a CPU: three times faster than at once."""


@dataclass(frozen=True)
class Fog(Transform, Parametric):
    """Haze of one colour and density: x' = (1 - w) x + w light, with w = sigmoid(t).

    An attacker chooses the weight of the haze, from 0 to w.

    Args:
        t: density; -inf is clear air, 0 is half haze, +inf is only haze.
        light: brightness of the haze, in [0, 1].

    Raises:
        ValueError: if ``t`` is NaN or ``light`` is not in [0, 1].
    """

    name: ClassVar[str] = "fog"

    t: float
    light: float

    def __post_init__(self) -> None:
        """Check the strength."""
        check_numbers(self, infinite=("t",))  # without haze, t is -inf
        if not 0 <= self.light <= 1:
            raise ValueError(
                f"Fog: expected a number t and light in [0, 1], got t={self.t}, light={self.light}"
            )

    @property
    def haze(self) -> float:
        """The weight w = sigmoid(t) of the haze."""
        return 1 / (1 + math.exp(-self.t)) if self.t > -700 else 0.0

    def scaled(self, factor: float) -> Self:
        """Return fog whose haze has the weight ``factor * sigmoid(t)``."""
        haze = factor * self.haze
        if not 0 <= haze <= 1:
            raise ValueError(
                f"{self} scaled by {factor} gives the haze a weight of {haze}; it must be in [0, 1]"
            )
        return type(self)(t=self.t if factor == 1 else _logit(haze), light=self.light)

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the images in fog; nothing is drawn.

        Values are truncated to 8 bits. The gradient is that of the affine map (straight-through).
        Without haze ``x`` itself is returned.

        Args:
            x: (N, C, H, W) in [0, 1], any number of channels.
            generator: not used.
        """
        if self.haze == 0:
            return x
        wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        levels = wide.mul(255 * (1 - self.haze)).add_(255 * self.haze * self.light + _GUARD)
        pixels = levels.floor_().div_(255).to(x.dtype)
        if x.requires_grad and torch.is_grad_enabled():  # adds exactly 0, with the affine gradient
            pixels = pixels + (x - x.detach()) * (1 - self.haze)
        return pixels

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a density for every image, (N, 1)."""
        return uniform_points(x, 1, generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images in haze of the weight (p + 1) / 2 w, differentiable in p.

        Values are truncated to 8 bits, unless there is no haze (w = 0).
        """
        haze = self.haze * (point[:, :, None, None] + 1) / 2
        foggy = (1 - haze) * x + haze * self.light
        if self.haze == 0:
            return straight_through(x, foggy)
        return straight_through((foggy * 255 + _GUARD).floor() / 255, foggy)


@dataclass(frozen=True)
class Snow(Transform, Parametric):
    """Snow on everything that is not bright: the lightness there is multiplied by ``darkness``.

    A snow point is drawn for every image, uniform in [85, 212.5]. Pixels whose lightness (0 to 255)
    is below it get min(255, darkness * lightness). Hue and saturation stay. The conversions to HLS
    and back are those of OpenCV for 8-bit images, rounding included (hue in steps of 2 degrees,
    lightness and saturation in steps of 1/255). An attacker chooses the snow point and the factor.

    Args:
        darkness: factor on the lightness, at least 1; 1 is no snow.

    Raises:
        ValueError: if ``darkness`` is below 1 or not finite.
    """

    name: ClassVar[str] = "snow"

    darkness: float

    def __post_init__(self) -> None:
        """Check the strength."""
        check_numbers(self)
        if not 1 <= self.darkness < math.inf:
            raise ValueError(f"Snow: darkness must be finite and >= 1, got {self.darkness}")

    def scaled(self, factor: float) -> Self:
        """Return snow with the darkness 1 + factor (darkness - 1)."""
        return type(self)(darkness=1 + (self.darkness - 1) * factor)

    @torch.no_grad()
    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the images in snow, each with its own snow point.

        Rounding leaves no gradient: the result is detached. With darkness 1 ``x`` is returned.

        Args:
            x: (N, 3, H, W) in [0, 1], red, green, blue.
            generator: on the device of ``x``; N uniform numbers are drawn, whatever x holds.

        Raises:
            ValueError: if ``x`` does not have three channels.
        """
        _check_rgb(x)
        point = torch.rand(
            (len(x), 1, 1), device=x.device, dtype=torch.float32, generator=generator
        )
        if self.darkness == 1:
            return x
        point.mul_(_SNOW_POINTS).add_(_LOWEST_SNOW_POINT)
        out = torch.empty_like(x)
        size = _images_at_a_time(x)
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            _snow(x[rows], point[rows], self.darkness, out[rows])
        return out

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a snow point and a factor for every image, (N, 2)."""
        return uniform_points(x, 2, generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the images in snow, with the snow point 85 + 127.5 (p_0 + 1) / 2.

        The factor on the lightness is 1 + (darkness - 1) (p_1 + 1) / 2. The gradient is that of a
        smooth edge at the snow point, and of more light in all channels. With darkness 1 the images
        stay as they are.

        Raises:
            ValueError: if ``x`` does not have three channels.
        """
        _check_rgb(x)
        place, strength = ((point + 1) / 2)[:, :, None, None].unbind(1)
        edge, factor = place * _SNOW_POINTS + _LOWEST_SNOW_POINT, 1 + (self.darkness - 1) * strength
        with torch.no_grad():
            exact = x
            if self.darkness != 1:
                exact = torch.empty_like(x)
                _snow(x, edge.float(), factor.double(), exact)
        lightness = (x.amax(1) + x.amin(1)) * (255 / 2)
        brighter = (lightness * factor).clamp(max=255) - lightness
        covered = torch.sigmoid((edge - lightness) / _SOFT)
        return straight_through(exact, (covered * brighter / 255)[:, None].expand_as(exact))


def _snow(x: Tensor, point: Tensor, darkness: float | Tensor, out: Tensor) -> None:
    """Write ``x`` in snow to ``out``; ``darkness`` is one factor or one per image, (N, 1, 1)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    levels = wide.mul(255).add_(_GUARD).floor_()
    hue, lightness, saturation = rgb_to_hls(*levels.float().unbind(1))
    lightness = _brightened(lightness, point, darkness)
    snowed = hls_to_rgb(hue, lightness, saturation)
    for plane, channel in zip(out.unbind(1), snowed, strict=True):
        torch.div(channel, 255, out=plane)


def _brightened(lightness: Tensor, point: Tensor, darkness: float | Tensor) -> Tensor:
    """Multiply the levels below ``point``, then clip and truncate them, (N, H, W)."""
    # In double precision like the original, where 100 * 2.3 truncates to 229, not to 230.
    brighter = lightness.double().mul_(darkness).clamp_(max=255).floor_().float()
    below = (point - lightness).sign_().clamp_(min=0)
    return torch.lerp(lightness, brighter, below)  # weights 0 and 1: selects


def _check_rgb(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(
            f"Snow needs RGB images of shape (N, 3, H, W), got {tuple(x.shape)}; "
            "repeat the channel of grey images three times"
        )


def _images_at_a_time(x: Tensor) -> int:
    """Return how many images to process at a time: all on an accelerator, few on a CPU.

    On a CPU the intermediate planes should stay in the cache, and be small enough for the allocator
    to reuse their memory.
    """
    on_cpu = x.device.type == "cpu"
    return max(1, _PLANE // max(1, x.shape[2:].numel()) if on_cpu else len(x))


def _logit(p: float) -> float:
    """Return the t with sigmoid(t) = p; infinite for p = 0 and p = 1."""
    if p in (0, 1):
        return math.inf if p else -math.inf
    return math.log(p / (1 - p))
