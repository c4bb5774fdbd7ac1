"""Encoded pictures (PNG, JPEG, ...) to one tensor of bytes."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from morex.data.errors import DataError

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes that become RGB without loss of range; 16-bit and float pictures do not."""

Picture = tuple[str, bytes | Path]
"""Where a picture is, for messages, and its encoded bytes or file."""


def read_pictures(paths: Sequence[Path], image_size: int | None) -> Tensor:
    """Read picture files to uint8 RGB, (N, 3, H, W); see ``decode_all``.

    Raises:
        DataError: if there is none, one is missing or cannot be decoded, or sizes differ.
    """
    if not paths:
        raise DataError("no picture to read: name at least one file")
    return decode_all([(str(path), path) for path in paths], len(paths), image_size)


def decode_all(pictures: Iterable[Picture], count: int, image_size: int | None) -> Tensor:
    """Decode ``count`` pictures to uint8 RGB, (count, 3, H, W).

    Only one decoded picture is held besides the result.

    Args:
        pictures: exactly ``count`` >= 1 pictures; greyscale, palette and CMYK become RGB, an alpha
            channel is dropped.
        count: how many there are, so that the result is allocated once.
        image_size: resize to image_size x image_size (largest centred square, bicubic); by
            default all pictures must have the size of the first.

    Raises:
        DataError: if a picture cannot be decoded, or has another size than the first one.
    """
    images: Tensor | None = None
    for row, (where, content) in enumerate(pictures):
        pixels = torch.from_numpy(_decode(where, content, image_size)).permute(2, 0, 1)
        if images is None:
            images = torch.empty((count, *pixels.shape), dtype=torch.uint8)
        if pixels.shape != images.shape[1:]:
            raise DataError(
                f"{where}: the image is {_size(pixels)} and those before it are {_size(images)}; "
                "set the option image_size to resize all of them"
            )
        images[row] = pixels
    assert images is not None
    return images


def _decode(where: str, content: bytes | Path, image_size: int | None) -> "np.ndarray":
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
            return np.array(_rgb(opened, image_size))
    except Exception as error:  # Pillow's decoders raise whatever their format brings
        raise DataError(
            f"{where}: the image cannot be decoded ({error}); replace or remove it"
        ) from error


def _rgb(image: Image.Image, image_size: int | None) -> Image.Image:
    if image.mode not in EIGHT_BIT_MODES:
        raise ValueError(f"mode {image.mode} is not 8 bits per channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    if image.mode != "RGB":
        image = image.convert("RGB")
    if image_size is not None and image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
    return image


def _size(images: Tensor) -> str:
    """Return height x width as text."""
    return f"{images.shape[-2]}x{images.shape[-1]}"
