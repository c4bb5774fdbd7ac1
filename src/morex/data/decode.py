"""Decodes pictures (PNG, JPEG, ...) to one tensor of bytes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from morex.data.errors import DataError
from morex.data.opened import RESIZE, opened_picture
from morex.data.rgb import upright_rgb

Picture = tuple[str, bytes | Path | None]
"""The place of a picture, for error messages, and its encoded bytes or file; None if it is absent.
"""

MOST_PROBLEMS = 10
"""How many pictures an error lists. No further ones are read."""


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
        pictures: exactly ``count`` >= 1 pictures; see ``upright_rgb`` for how they become RGB.
        count: the number of pictures; the result is allocated once.
        image_size: crop to the largest centred square and resize to image_size x image_size
            (bicubic); by default all pictures must have the size of the first.

    Raises:
        DataError: if pictures cannot be decoded, are not of the size of the first, or need more
            memory than there is. The message lists up to ``MOST_PROBLEMS`` of them.
    """
    images: Tensor | None = None
    problems: list[str] = []
    for row, (where, content) in enumerate(pictures):
        try:
            pixels = decode(content, image_size)
        except DataError as error:
            problems.append(f"{where}: {error}")
        else:
            images = _allocated(count, pixels) if images is None else images
            if pixels.shape == images.shape[1:]:
                images[row] = pixels
            else:
                problems.append(f"{where}: {_other_size(pixels, images)}")
        if len(problems) == MOST_PROBLEMS:
            break
    _raise_for(problems)
    assert images is not None
    return images


def decode(
    content: bytes | Path | None, image_size: int | None, *, most: int | None = None
) -> Tensor:
    """Decode one picture to uint8 RGB, (3, H, W); see ``decode_all``.

    Args:
        content: the encoded picture, or its file; None if it is absent.
        image_size: as for ``decode_all``.
        most: the most pixels that the picture may have, if that is less than is read anyway.

    Raises:
        UnknownFormatError, TooLargeError: as ``opened_picture``.
        DataError: if it is absent or cannot be decoded. The message does not say where it is.
    """
    if content is None:
        raise DataError("there are no image bytes; add them or remove the row")
    try:
        with opened_picture(content, resized=image_size is not None, most=most) as opened:
            return torch.from_numpy(np.array(upright_rgb(opened, image_size))).permute(2, 0, 1)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise DataError(f"the image cannot be decoded ({error}); replace or remove it") from error


def _allocated(count: int, pixels: Tensor) -> Tensor:
    try:
        return torch.empty((count, *pixels.shape), dtype=torch.uint8)
    except RuntimeError:
        size = f"{count * pixels.numel() / 1e9:,.0f} GB"
        raise DataError(
            f"{count:,} pictures of {_size(pixels)} pixels take {size} of memory; {RESIZE}"
        ) from None


def _raise_for(problems: Sequence[str]) -> None:
    """Raise one error for all ``problems``, if there are any."""
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        number = "at least " if len(problems) == MOST_PROBLEMS else ""
        head = f"{number}{len(problems)} pictures cannot be used:"
        raise DataError("\n  ".join([head, *problems]))


def _other_size(pixels: Tensor, images: Tensor) -> str:
    return f"the image is {_size(pixels)}, but those before it are {_size(images)}; {RESIZE}"


def _size(images: Tensor) -> str:
    """Return height x width as text."""
    return f"{images.shape[-2]}x{images.shape[-1]}"
