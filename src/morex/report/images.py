"""Pictures in the page: arrays as PNG or WebP in ``data:`` addresses."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_EXACT = 40
"""Pictures of up to this many pixels a side are lossless; larger ones would fill the page."""
_LARGEST = 64


def data_address(pixels: NDArray[np.floating]) -> str:
    """Return an image (3, H, W) with values in [0, 1] as a ``data:`` address, at most 64 x 64."""
    picture = _rounded(pixels)
    if max(picture.size) <= _EXACT:
        return _address(picture, "PNG", optimize=True)
    picture.thumbnail((_LARGEST, _LARGEST))
    return _address(picture, "WEBP", quality=82)


def exact_address(pixels: NDArray[np.floating]) -> str:
    """Return an image (3, H, W) with values in [0, 1] as a ``data:`` address, lossless, 8 bits."""
    return _address(_rounded(pixels), "PNG")


def _rounded(pixels: NDArray[np.floating]) -> Image.Image:
    values = np.clip(np.rint(np.moveaxis(pixels, 0, -1) * 255.0), 0, 255)
    return Image.fromarray(values.astype(np.uint8))


def _address(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def magnification(differences: NDArray[np.floating]) -> int:
    """Return the round factor that spreads differences in [-1, 1] over half the grey scale."""
    largest = float(np.abs(differences).max(initial=0.0))
    fitting = [f for f in (1, 2, 3, 5, 10, 20, 50) if f * largest <= 0.55]
    return max(fitting, default=1)


def magnified(difference: NDArray[np.floating], factor: int) -> NDArray[np.floating]:
    """Return grey plus ``factor`` times the difference, clipped to [0, 1]."""
    shown: NDArray[np.floating] = np.clip(0.5 + factor * difference, 0, 1)
    return shown
