"""Gaussian, shot, impulse and speckle noise of CIFAR-10-C, independent for every channel."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.perturbations.corruptions.base import Corruption

_DEVIATION = (0.04, 0.06, 0.08, 0.09, 0.10)
_PHOTONS = (500, 250, 100, 75, 50)
_REPLACED = (0.01, 0.02, 0.03, 0.05, 0.07)
_SPECKLES = (0.06, 0.1, 0.12, 0.16, 0.2)


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """Sensor noise: x' = x + s z, z standard normal, s from 0.04 to 0.10."""

    name: ClassVar[str] = "gaussian-noise"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Add the noise."""
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return noise.mul_(_DEVIATION[self.severity - 1]).add_(x)


@dataclass(frozen=True)
class ShotNoise(Corruption):
    """Photon noise: x' = Poisson(c x) / c, with c from 500 down to 50."""

    name: ClassVar[str] = "shot-noise"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the photon counts; the number of random numbers depends on ``x``."""
        white = _PHOTONS[self.severity - 1]
        return torch.poisson(x * white, generator=generator).div_(white)


@dataclass(frozen=True)
class ImpulseNoise(Corruption):
    """Salt and pepper: 1 to 7% of all values become 0 or 1, with equal probability."""

    name: ClassVar[str] = "impulse-noise"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Replace values."""
        share = _REPLACED[self.severity - 1]
        drawn = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return torch.where(drawn < share, (drawn < share / 2).to(x.dtype), x)


@dataclass(frozen=True)
class SpeckleNoise(Corruption):
    """Noise in proportion to the value: x' = x + s x z, z standard normal, s from 0.06 to 0.2."""

    name: ClassVar[str] = "speckle-noise"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Add the noise."""
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return noise.mul_(_SPECKLES[self.severity - 1]).add_(1).mul_(x)
