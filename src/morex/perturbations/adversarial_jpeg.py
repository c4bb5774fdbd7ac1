"""JPEG whose coefficients an attacker chooses (Kaufmann et al. 2019)."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.core.number_checks import check_numbers
from morex.perturbations.corruptions.jpeg import CHROMINANCE, LUMINANCE, quantisation_steps
from morex.perturbations.parametric import Parametric, straight_through, uniform_points

_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_TO_RGB = (
    (1.0, 0.0, 1.402),
    (1.0, -0.344136, -0.714136),
    (1.0, 1.772, 0.0),
)


@dataclass(frozen=True)
class AdversarialJpeg(Parametric):
    """The image as JPEG stores it, after a change of its coefficients before they are rounded.

    x' = decode(round(encode(x) + eps p)), in units of the steps of quantisation. Rounding has the
    gradient of the identity. Colours keep their resolution (4:4:4).

    Args:
        eps: the largest change of a coefficient, in steps of quantisation; 0 is no JPEG at all.
        quality: of the JPEG, from 1 to 100.

    Raises:
        ValueError: if a number is out of its range.
    """

    name: ClassVar[str] = "adversarial-jpeg"

    eps: float
    quality: int = 80

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if self.eps < 0 or not 1 <= self.quality <= 100:
            raise ValueError(f"{self}: expected eps >= 0 and quality from 1 to 100")

    def scaled(self, factor: float) -> Self:
        """Return the same with ``factor`` times the change."""
        return replace(self, eps=self.eps * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a number for each coefficient."""
        rows, columns = (-(-side // 8) * 8 for side in x.shape[2:])
        return uniform_points(x, x.shape[1] * rows * columns, generator)

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        """Return the decoded images; a single channel is luminance.

        Raises:
            ValueError: if ``x`` has neither one nor three channels.
        """
        if x.shape[1] not in (1, 3):
            raise ValueError(f"AdversarialJpeg needs RGB or grey images, got {tuple(x.shape)}")
        if not self.eps:
            return x
        steps = _all_steps(self.quality, x.shape[1], x.device, x.dtype)
        whole = F.pad(x * 255, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8), mode="replicate")
        blocks = _blocks(_mixed(whole, _TO_YCC) - _grey(x))
        exact = _cosines(x) @ blocks @ _cosines(x).T / steps
        wanted = exact + self.eps * point.view(exact.shape)
        kept = straight_through(wanted.round(), wanted) * steps
        planes = _planes(_cosines(x).T @ kept @ _cosines(x)) + _grey(x)
        back = _mixed(planes, _TO_RGB) / 255
        return back[:, :, : x.shape[2], : x.shape[3]].clamp(0, 1)


def _mixed(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the channels of RGB images multiplied by a matrix; grey images stay."""
    if x.shape[1] == 1:
        return x
    return torch.einsum("ij,njhw->nihw", _constant(matrix, x.device, x.dtype), x)


def _blocks(x: Tensor) -> Tensor:
    """Return planes (N, C, H, W) as blocks (N, C, H / 8, W / 8, 8, 8)."""
    n, channels, height, width = x.shape
    return x.view(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)


def _planes(blocks: Tensor) -> Tensor:
    n, channels, rows, columns, _, _ = blocks.shape
    return blocks.transpose(3, 4).reshape(n, channels, rows * 8, columns * 8)


def _grey(x: Tensor) -> Tensor:
    """Return what is subtracted before the transform: half of the range, of luminance only."""
    rows = ((128.0, 0.0, 0.0)[: x.shape[1]],)
    return _constant(rows, x.device, x.dtype).view(1, -1, 1, 1)


def _cosines(like: Tensor) -> Tensor:
    """Return the orthonormal cosine transform of eight numbers, (8, 8)."""
    rows = tuple(
        tuple(
            (0.5 if k else math.sqrt(1 / 8)) * math.cos((2 * i + 1) * k * math.pi / 16)
            for i in range(8)
        )
        for k in range(8)
    )
    return _constant(rows, like.device, like.dtype)


def _all_steps(quality: int, channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the steps of quantisation, (C, 1, 1, 8, 8)."""
    tables = (LUMINANCE, CHROMINANCE, CHROMINANCE)[:channels]
    rows = tuple(row for table in tables for row in quantisation_steps(table, quality))
    return _constant(rows, device, dtype).view(channels, 1, 1, 8, 8)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _constant(
    rows: tuple[tuple[float, ...], ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    return torch.tensor(rows, dtype=dtype, device=device)
