"""JPEG compression of CIFAR-10-C: encoding and decoding, without the bytes in between.

Baseline JPEG as libjpeg and Pillow do it by default: YCbCr with the colours at half the resolution
(4:2:0), cosine transform of 8x8 blocks, the tables of Annex K scaled by the quality, and rounding
to whole levels after every step. Entropy coding loses nothing and is left out. The arithmetic is
libjpeg's fixed-point arithmetic, in floats that represent it exactly, so that the result equals
Pillow's to the last bit (for a width of at least five pixels). This matters: in images that were
JPEG before, many coefficients lie halfway between two steps.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.perturbations.corruptions.base import Corruption, levels

_QUALITY = (80, 65, 58, 50, 40)

# ITU-T T.81, tables K.1 and K.2
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)

# libjpeg's jfdctint.c and jidctint.c as a matrix: 8192 sqrt(2) cos((2i + 1) k pi / 16), except that
# libjpeg adds these numbers up from constants that it has rounded
_COSINES = (
    (8192, 8192, 8192, 8192, 8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260, -2260, -6437, -9633, -11363),
    (10703, 4433, -4433, -10703, -10703, -4433, 4433, 10703),
    (9633, -2259, -11362, -6436, 6436, 11362, 2259, -9633),
    (8192, -8192, -8192, 8192, 8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633, -9633, -2261, 11362, -6437),
    (4433, -10704, 10704, -4433, -4433, 10704, -10704, 4433),
    (2260, -6436, 9633, -11363, 11363, -9633, 6436, -2260),
)


@dataclass(frozen=True)
class Jpeg(Corruption):
    """JPEG of quality 80, 65, 58, 50 or 40."""

    name: ClassVar[str] = "jpeg"

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Compress grey or RGB images; nothing is drawn.

        Raises:
            ValueError: if ``x`` has neither one nor three channels.
        """
        if x.shape[1] not in (1, 3):
            raise ValueError(
                f"Jpeg needs grey or RGB images, (N, 1 or 3, H, W), got {tuple(x.shape)}"
            )
        return coded(levels(x), _QUALITY[self.severity - 1]).div_(255)


def coded(x: Tensor, quality: int) -> Tensor:
    """Return the decoded images, in whole levels (N, 1 or 3, H, W), at a quality of 1 to 100."""
    height, width = x.shape[2:]
    if x.shape[1] == 1:
        return _quantised(x, LUMINANCE, quality)
    even = F.pad(x, (0, -width % 16, 0, height % 2), mode="replicate")
    luminance, chrominance = _to_ycc(even)
    luminance = _quantised(luminance[:, :, :height, :width], LUMINANCE, quality)
    chrominance = _quantised(_halved(chrominance), CHROMINANCE, quality)
    # at the border, only pixels inside the image count
    within = chrominance[:, :, :, : -(-width // 2)]
    return _to_rgb(luminance, _doubled(within)[:, :, :height, :width])


def _to_ycc(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance (N, 1, H, W) and chrominance (N, 2, H, W) in whole levels."""
    r, g, b = rgb.tensor_split(3, 1)
    # 0.299, 0.587, 0.114, ... in 65536ths; float32 holds all sums exactly
    y = 19595 * r + 38470 * g + 7471 * b
    blue = -11059 * r - 21709 * g + 32768 * b + 128 * 2**16
    red = 32768 * r - 27439 * g - 5329 * b + 128 * 2**16
    # one less, as in libjpeg: pure blue and red would become 256
    return _shifted(y, 16), _shifted(torch.cat([blue, red], 1).sub_(1), 16)


def _to_rgb(y: Tensor, chrominance: Tensor) -> Tensor:
    blue, red = (chrominance - 128).tensor_split(2, 1)
    r = y + _shifted(91881 * red, 16)
    g = y + _shifted(-22554 * blue - 46802 * red, 16)
    b = y + _shifted(116130 * blue, 16)
    return torch.cat([r, g, b], 1).clamp_(0, 255)


def _halved(x: Tensor) -> Tensor:
    """Return the means of 2x2 pixels, rounded down and up in alternating columns."""
    mean = F.avg_pool2d(x, 2)
    even = 1 - torch.arange(mean.shape[3], device=x.device) % 2
    return mean.add_(0.5 - 0.25 * even).floor_()


def _doubled(x: Tensor) -> Tensor:
    """Return twice the resolution: 9, 3, 3 and 1 sixteenths of the four nearest pixels."""
    larger = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    odd = torch.arange(larger.shape[3], device=x.device) % 2
    return larger.add_(0.5 - odd / 16).floor_()


def _quantised(x: Tensor, table: tuple[int, ...], quality: int) -> Tensor:
    """Return planes (N, P, H, W) after quantisation in 8x8 blocks; the last pixels are repeated."""
    whole = F.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8), mode="replicate")
    n, planes, height, width = whole.shape
    blocks = whole.view(n, planes, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = _matrix(quantisation_steps(table, quality), x.device)
    decoded = _decoded(_coefficients(blocks.double() - 128, steps), steps)
    back = decoded.add_(128).clamp_(0, 255).to(x.dtype).transpose(3, 4)
    return back.reshape(whole.shape)[:, :, : x.shape[2], : x.shape[3]]


def _coefficients(blocks: Tensor, steps: Tensor) -> Tensor:
    """Return the quantised coefficients, whole numbers; halves are rounded away from zero."""
    cosines = _matrix(_COSINES, blocks.device)
    rows = _shifted(blocks @ cosines.T, 11)
    eightfold = _shifted(cosines @ rows, 15)
    return (eightfold.abs() / (8 * steps)).add_(0.5).floor_().copysign_(eightfold)


def _decoded(coefficients: Tensor, steps: Tensor) -> Tensor:
    cosines = _matrix(_COSINES, steps.device)
    columns = _shifted(cosines.T @ (coefficients * steps), 11)
    return _shifted(columns @ cosines, 18)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Return whole numbers divided by 2^bits and rounded, halves upwards."""
    return x.mul_(2.0**-bits).add_(0.5).floor_()


def quantisation_steps(table: tuple[int, ...], quality: int) -> tuple[tuple[int, ...], ...]:
    """Return the steps of quantisation at a quality: libjpeg's ``jpeg_quality_scaling``."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = [min(255, max(1, (step * percent + 50) // 100)) for step in table]
    return tuple(tuple(steps[start : start + 8]) for start in range(0, 64, 8))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the cached tensor must serve callers outside of that mode too
def _matrix(rows: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    """Return a constant; in double precision, because float32 cannot represent the products."""
    return torch.tensor(rows, dtype=torch.float64, device=device)
