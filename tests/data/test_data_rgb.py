"""Pictures of every kind that Pillow opens, as upright RGB."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from morex.data.rgb import upright_rgb

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def stored(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Image.open(stream)


def read(image: Image.Image, image_size: int | None = None) -> np.ndarray:
    result = upright_rgb(image, image_size)
    assert result.mode == "RGB"
    return np.array(result)


def with_orientation(number: int, kind: str = "PNG", pixels: np.ndarray = PIXELS) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = number
    options = {"lossless": True} if kind == "WEBP" else {}
    return stored(Image.fromarray(pixels), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("number", range(10))
def test_orientations_are_those_of_pillow(kind: str, number: int) -> None:
    expected = ImageOps.exif_transpose(with_orientation(number, kind)).convert("RGB")
    assert np.array_equal(read(with_orientation(number, kind)), np.array(expected))


def test_orientation_six_is_a_quarter_turn_to_the_right() -> None:
    assert np.array_equal(read(with_orientation(6)), np.rot90(PIXELS, -1))


def test_deep_grey_is_turned_too() -> None:
    assert np.array_equal(read(with_orientation(8, pixels=RAMP)), np.rot90(read_ramp("PNG")))


def test_damaged_exif_is_ignored() -> None:
    damaged = stored(Image.fromarray(PIXELS), "PNG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    assert np.array_equal(read(damaged), PIXELS)
    nonsense = stored(Image.fromarray(PIXELS), "PNG", exif=b"Exif\0\0nonsense")
    assert np.array_equal(read(nonsense), PIXELS)


def read_ramp(kind: str, dtype: str = "<u2") -> np.ndarray:
    return read(stored(Image.fromarray(RAMP.astype(dtype)), kind))


@pytest.mark.parametrize(
    ("kind", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")]
)
def test_sixteen_bits_of_grey_are_rounded(kind: str, dtype: str) -> None:
    expected = np.round(RAMP / 257).astype(np.uint8)
    assert np.array_equal(read_ramp(kind, dtype), np.stack([expected] * 3, 2))


def test_sixteen_bits_of_an_eight_bit_picture_give_it_back() -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    deep = stored(Image.fromarray(grey * 257), "PNG")
    assert np.array_equal(read(deep)[..., 1], grey)


def test_a_grey_map_of_ten_bits_is_scaled_by_its_maximum() -> None:
    values = np.array([0, 1, 512, 1023], ">u2")
    image = Image.open(io.BytesIO(b"P5 4 1 1023\n" + values.tobytes()))
    assert read(image)[0, :, 0].tolist() == [0, 0, 128, 255]


def tiff(bits: int, photometric: int, width: int, content: bytes) -> Image.Image:
    """Return an uncompressed grey TIFF of one row."""
    entries = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1}
    entries[279] = len(content)
    content += b"\0" * (len(content) % 2)
    directory = struct.pack("<H", len(entries))
    for tag, value in entries.items():
        directory += struct.pack("<HHIHH", tag, 3, 1, value, 0)
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    return Image.open(io.BytesIO(head + content + directory + b"\0\0\0\0"))


def test_a_tiff_of_twelve_bits_is_scaled_by_its_maximum() -> None:
    image = tiff(12, 1, 2, bytes([0xFF, 0xF8, 0x00]))  # 4095 and 2048
    assert read(image)[0, :, 0].tolist() == [255, 128]


def test_a_deep_tiff_whose_zero_is_white_is_inverted() -> None:
    image = tiff(16, 0, 3, np.array([0, 65535, 257], "<u2").tobytes())
    assert read(image)[0, :, 0].tolist() == [255, 0, 254]


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_modes_without_a_known_range_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"mode {mode}, whose range is not known; expected 8 bits"):
        upright_rgb(stored(Image.new(mode, (2, 2)), "TIFF"), None)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kind", "transparency"),
    [("GIF", 0), ("GIF", 1), ("PNG", 0), ("PNG", b"\x00\x80"), ("PNG", b"\xff")],
)
def test_palettes_keep_the_colours_of_transparent_pixels(kind: str, transparency: Any) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    image.putpalette([9, 8, 7, 10, 20, 30])
    image = stored(image, kind, transparency=transparency)
    assert read(image).tolist() == [[[9, 8, 7], [10, 20, 30]], [[10, 20, 30], [9, 8, 7]]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_transparent_colour_is_a_colour(mode: str, key: Any) -> None:
    image = stored(Image.new(mode, (1, 1), key), "PNG", transparency=key)
    assert read(image)[0, 0].tolist() == [0 if mode == "1" else 7] * 3


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(kind: str) -> None:
    image = stored(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), kind)
    assert np.abs(read(image).astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_first_frame_is_read(kind: str, frames: int) -> None:
    first, *others = (Image.new("RGB", (3, 2), (60 * k, 9, 200)) for k in range(frames))
    options = {"lossless": True} if kind == "WEBP" else {}
    image = stored(first, kind, save_all=True, append_images=others, **options)
    assert (read(image) == [0, 9, 200]).all()


def test_a_turned_picture_is_resized_upright() -> None:
    assert read(with_orientation(6), 3).shape == (3, 3, 3)
    upright = stored(Image.fromarray(np.rot90(PIXELS, -1).copy()), "PNG")
    assert np.array_equal(read(with_orientation(6), 3), read(upright, 3))
