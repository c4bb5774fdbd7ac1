"""What all common corruptions share (Hendrycks & Dietterich 2019).

Severities have the constants of CIFAR-10-C, which is made for 32x32 pixels. On images of other
sizes, lengths in pixels (radii of blurs) stay the same, and shares of the side (zoom, elastic,
pixelate) grow with it.

All are computed for the whole batch on its device, in float32 or wider even under autocast, and
truncated to a multiple of 1/255 like the published files.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from morex.perturbations.base import Transform

_GUARD = 1e-3
"""Added, in levels of 1/255, before truncation: weights may sum to slightly less than 1."""


@dataclass(frozen=True)
class Corruption(Transform):
    """A corruption of CIFAR-10-C.

    Args:
        severity: from 1 to 5; 0 is no corruption.

    Raises:
        ValueError: if ``severity`` is not a whole number from 0 to 5.
    """

    severity: int

    def __post_init__(self) -> None:
        """Check the severity."""
        whole = isinstance(self.severity, int) and not isinstance(self.severity, bool)
        if not whole or not 0 <= self.severity <= 5:
            raise ValueError(
                f"{type(self).__name__}: severity must be a whole number from 1 to 5, or 0 for no "
                f"corruption, got {self.severity!r}"
            )

    def scaled(self, factor: float) -> Self:
        """Return the corruption with the severity nearest to ``factor`` times this one."""
        return type(self)(round(self.severity * factor))

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the corrupted images, with independent draws; detached, because levels are whole.

        Args:
            x: (N, C, H, W) in [0, 1].
            generator: on the device of ``x``.
        """
        if not len(x) or not self.severity:
            return x
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            moved = self.corrupted(wide, generator)
            return levels(moved).div_(255).to(x.dtype)

    @abstractmethod
    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the corrupted images for a severity of 1 to 5, before clipping and truncation.

        Args:
            x: (N, C, H, W) in [0, 1], float32 or wider, N >= 1; must not be changed.
            generator: on the device of ``x``.
        """


def levels(x: Tensor) -> Tensor:
    """Return x in [0, 1] as whole levels from 0 to 255; values outside are clipped."""
    return x.mul(255).add_(_GUARD).clamp_(0, 255).floor_()
