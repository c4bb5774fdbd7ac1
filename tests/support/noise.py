"""A transform whose result is nothing but its random draws."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from morex.perturbations import Transform


@dataclass(frozen=True)
class Noise(Transform):
    """Replaces every image by noise drawn for it."""

    name: ClassVar[str] = "noise"

    def scaled(self, factor: float) -> Self:
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        return torch.rand(x.shape, generator=generator, device=x.device)
