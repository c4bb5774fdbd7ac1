"""A new perturbation: hail. Named in a recipe, it is trained on and evaluated like any other.

perturbations:
  hail: {kind: examples/hail.py:Hail, stones: 12}
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from morex.perturbations import Transform


@dataclass(frozen=True)
class Hail(Transform):
    """White stones of one pixel, drawn for every image."""

    name = "hail"
    stones: int = 12

    def scaled(self, factor: float) -> "Hail":
        """Return ``factor`` times as many stones."""
        return Hail(round(self.stones * factor))

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the images in hail; x is (N, C, H, W) in [0, 1]."""
        n, _, height, width = x.shape
        noise = torch.rand((n, 1, height, width), generator=generator, device=x.device)
        return torch.where(noise < self.stones / (height * width), 1.0, x)
