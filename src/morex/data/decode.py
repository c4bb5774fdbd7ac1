"""Decodes pictures (PNG, JPEG, ...) to one tensor of bytes."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from morex.data.errors import DataError

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes that can be converted to RGB without loss of range, unlike 16 bits and floats."""

Picture = tuple[str, bytes | Path]
"""The place of a picture, for error messages, and its encoded bytes or file."""


def read_pictures(paths: Sequence[Path], image_size: int | None) -> Tensor:
    """Read picture files to uint8 RGB, (N, 3, H, W); see ``decode_all``.

    Raises:
        DataError: if ``paths`` is empty, a file is missing or cannot be decoded, or sizes differ.
    """
    if not paths:
        raise DataError("no picture to read: name at least one file")
    return decode_all([(str(path), path) for path in paths], len(paths), image_size)


def decode_all(pictures: Iterable[Picture], count: int, image_size: int | None) -> Tensor:
    """Decode ``count`` pictures to uint8 RGB, (count, 3, H, W).

    No more than one decoded picture is held beside the result.

    Args:
        pictures: exactly ``count`` >= 1 pictures; greyscale, palette and CMYK become RGB, an alpha
            channel is dropped.
        count: the number of pictures; the result is allocated once.
        image_size: crop to the largest centred square and resize to image_size x image_size
            (bicubic); by default all pictures must have the size of the first.

    Raises:
        DataError: if a picture cannot be decoded, or is not of the size of the first.
    """
    images: Tensor | None = None
    for row, (where, content) in enumerate(pictures):
        pixels = torch.from_numpy(_decode(where, content, image_size)).permute(2, 0, 1)
        if images is None:
            images = torch.empty((count, *pixels.shape), dtype=torch.uint8)
        if pixels.shape != images.shape[1:]:
            raise DataError(
                f"{where}: the image is {_size(pixels)}, but those before it are {_size(images)}; "
                "set the option image_size to resize all of them"
            )
        images[row] = pixels
    assert images is not None
    return images


def _decode(where: str, content: bytes | Path, image_size: int | None) -> "np.ndarray":
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
            return np.array(_rgb(opened, image_size))
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise DataError(
            f"{where}: the image cannot be decoded ({error}); replace or remove it"
        ) from error


def _rgb(image: Image.Image, image_size: int | None) -> Image.Image:
    if image.mode not in EIGHT_BIT_MODES:
        raise ValueError(f"mode {image.mode} is not 8 bits per channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if it is converted directly
    if image.mode != "RGB":
        image = image.convert("RGB")
    if image_size is not None and image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
    return image


def _size(images: Tensor) -> str:
    """Return height x width as text."""
    return f"{images.shape[-2]}x{images.shape[-1]}"
