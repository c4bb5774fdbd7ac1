"""Brightness, contrast and saturation of CIFAR-10-C."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.perturbations.corruptions.base import Corruption

_LIGHT = (0.05, 0.1, 0.15, 0.2, 0.3)
_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
_SATURATION = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))


@dataclass(frozen=True)
class Brightness(Corruption):
    """More light: the value v = max over channels (the V of HSV) becomes min(1, v + c).

    Hue and saturation stay: x' = x v' / v. A single channel is treated as grey.
    """

    name: ClassVar[str] = "brightness"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Lighten; nothing is drawn."""
        value = x.amax(1, keepdim=True)
        lighter = (value + _LIGHT[self.severity - 1]).clamp_(max=1)
        return torch.where(value > 0, x * (lighter / value), lighter)


@dataclass(frozen=True)
class Contrast(Corruption):
    """Less contrast: x' = m + c (x - m), with m the mean of an image's channel."""

    name: ClassVar[str] = "contrast"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move towards the mean; nothing is drawn."""
        return torch.lerp(x.mean((2, 3), keepdim=True), x, _CONTRAST[self.severity - 1])


@dataclass(frozen=True)
class Saturation(Corruption):
    """The saturation s of HSV becomes min(1, a s + b); hue and value stay.

    Severities 1 and 2 remove colour, 3 to 5 add colour. As in the original, grey has the hue of
    red, so severities 4 and 5 make it reddish.
    """

    name: ClassVar[str] = "saturation"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Change the colours; nothing is drawn.

        Raises:
            ValueError: if ``x`` does not have three channels.
        """
        if x.shape[1] != 3:
            raise ValueError(
                f"Saturation needs RGB images of shape (N, 3, H, W), got {tuple(x.shape)}; "
                "repeat the channel of grey images three times"
            )
        factor, more = _SATURATION[self.severity - 1]
        value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
        spread = value - least
        red = torch.arange(3, device=x.device, dtype=x.dtype).clamp_(max=1).view(1, 3, 1, 1)
        below = torch.where(spread > 0, (value - x) / spread, red)  # 0 for the largest channel
        saturation = spread / torch.where(value > 0, value, 1)
        return value * (1 - below * saturation.mul_(factor).add_(more).clamp_(0, 1))
