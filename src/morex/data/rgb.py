"""Opened pictures as upright RGB of one size."""

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes that can be converted to RGB without loss of range, unlike 16 bits and floats."""

_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""Tags of EXIF and TIFF."""

_UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn a picture upright, by its orientation in EXIF."""


def upright_rgb(image: Image.Image, image_size: int | None) -> Image.Image:
    """Return the first frame of an opened picture as RGB, as a viewer shows it.

    Greyscale, palette and CMYK become RGB, and an alpha channel is dropped. Greyscale of 16 bits is
    rounded to 8. A picture that is stored turned or mirrored is turned upright, as EXIF says.
    Colour profiles (ICC) are ignored.

    Args:
        image: just opened; its pixels are loaded here.
        image_size: crop to the largest centred square and resize to image_size x image_size
            (bicubic); by default the size stays.

    Raises:
        ValueError: if the mode of the picture has no known range, such as floats.
        OSError: if Pillow cannot decode the picture; other types occur, too.
    """
    image.load()  # turns a TIFF upright, and then has no orientation for it
    turn = _UPRIGHT.get(_orientation(image))
    image = _rgb(image)
    if turn is not None:
        image = image.transpose(turn)
    if image_size is not None and image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
    return image


def _orientation(image: Image.Image) -> object:
    """Return the orientation from 1 to 8 in EXIF; None if there is none that can be read."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF, for which Pillow has errors of many types
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if _is_deep(image):
        image = _eight_bits(image)
    if image.mode not in EIGHT_BIT_MODES:
        raise ValueError(
            f"its pixels have the mode {image.mode}, whose range is not known; expected 8 bits per "
            "channel, or 16 bits of grey"
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if it is converted directly
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Return whether the pixels are grey values of 16 bits. A few formats widen these to 32."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return round(255 value / largest), where the largest value is 65535, or as the TIFF says."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(_BITS)
    largest = 2 ** (bits[0] if isinstance(bits, tuple) else 16) - 1
    values = np.asarray(image).astype(np.int64)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = largest - values
    return Image.fromarray(((values * 510 + largest) // (2 * largest)).astype(np.uint8))
