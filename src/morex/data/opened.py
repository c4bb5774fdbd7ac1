"""Encoded pictures that are safe to decode: regular files, of known formats and bounded sizes.

Pillow has readers for many formats. One of them, PostScript, starts an interpreter, and what a
file is called does not decide its format. Only the readers in ``FORMATS`` are ever asked.
"""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from morex.core.file_errors import near_file, reason
from morex.core.files import NOT_REGULAR
from morex.data.errors import DataError, TooLargeError, UnknownFormatError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are read, as Pillow names them. PGM and PBM are read by PPM."""

MOST_DECODED = 2**27
"""The most pixels of a picture that is decoded and then resized, 134 megapixels."""

MOST_KEPT = 2**24
"""The most pixels of a picture that is used at its own size, 16.8 megapixels (4096 x 4096)."""


@contextmanager
def opened_picture(
    content: bytes | Path, *, resized: bool, most: int | None = None
) -> Iterator[Image.Image]:
    """Yield the opened picture; nothing is decoded yet.

    Args:
        content: the encoded picture, or its file.
        resized: whether it is going to be resized, which decides how large it may be.
        most: the most pixels that it may have, if that is less than is read anyway.

    Raises:
        UnknownFormatError: if it is not of one of the ``FORMATS``.
        TooLargeError: if it has too many pixels.
        DataError: if it is not a regular file.
    """
    if isinstance(content, Path):
        _check_file(content)
    with warnings.catch_warnings():
        # Pillow's own limit lies close to MOST_DECODED, which is checked here
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with _identified(content) as image:
            _check_size(image.size, resized=resized, most=most)
            yield image


def _check_file(path: Path) -> None:
    """Raise unless ``path`` is a regular file: reading a pipe or a device may never end."""
    try:
        found = path.stat()
    except FileNotFoundError:
        near = near_file(path) or "; correct the path"
        raise DataError(f"there is no such file{near}") from None
    except OSError as error:
        raise DataError(f"the file cannot be read ({reason(error)}); correct the path") from None
    if stat.S_ISDIR(found.st_mode):
        raise DataError("this is a folder; name the picture files in it")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"this is {NOT_REGULAR}; name a picture file")


def require_regular(path: Path) -> None:
    """Raise ``OSError`` if there is something at ``path`` whose reading may never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(NOT_REGULAR)


def _identified(content: bytes | Path) -> Image.Image:
    """Return the picture whose header was read."""
    try:
        return Image.open(
            io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS
        )
    except UnidentifiedImageError:
        raise UnknownFormatError(
            f"the image cannot be decoded (it is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}); "
            "replace it, convert it or remove it"
        ) from None
    except Image.DecompressionBombError:
        raise TooLargeError(
            f"the image has more than {MOST_DECODED / 1e6:.0f} megapixels, the most that is "
            "decoded; make it smaller"
        ) from None


def _check_size(size: tuple[int, int], *, resized: bool, most: int | None) -> None:
    width, height = size
    limit = min(MOST_DECODED if resized else MOST_KEPT, most or MOST_DECODED)
    if width * height > limit:
        repair = "make it smaller" if resized or most else RESIZE
        raise TooLargeError(
            f"the image is {height}x{width}, more than {limit / 1e6:.0f} megapixels; {repair}"
        )


RESIZE = (
    "to crop every picture to its central square and resize that, set image_size "
    "(--image-size 64, or data.image_size in a recipe)"
)
"""What to do about pictures whose sizes differ or are too large."""
