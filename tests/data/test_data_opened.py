"""Which picture files are opened: regular files, of known formats and bounded sizes."""

import io
import os
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from morex.data import DataError, PublishedCorruptions, load_data, read_pictures
from morex.data.decode import decode, decode_all

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def encoded(
    kind: str, size: tuple[int, int] = (6, 4), mode: str = "RGB", **options: object
) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "MPO"])
def test_the_usual_formats_are_read_whatever_a_file_is_called(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(encoded(kind))
    assert read_pictures([tmp_path / "a.dat"], None).shape == (1, 3, 4, 6)


@pytest.mark.parametrize("content", [POSTSCRIPT, encoded("ICO"), encoded("TGA"), b"", b"GIF89a"])
def test_no_other_format_is_asked(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a.png: the image cannot be decoded \(it is no BMP, GIF"):
        read_pictures([tmp_path / "a.png"], 8)
    with pytest.raises(DataError, match="it is no BMP, GIF"):
        decode(content, None)


def test_postscript_starts_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "a.png").write_bytes(POSTSCRIPT)
    with pytest.raises(DataError):
        read_pictures([tmp_path / "a.png"], None)
    assert not started.exists()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def error_of(read: Callable[[], object]) -> str:
    """Return the message of the ``DataError`` of a call, which may not wait for anything."""
    errors: list[str] = []

    def call() -> None:
        with pytest.raises(DataError) as caught:
            read()
        errors.append(str(caught.value))

    reading = threading.Thread(target=call, daemon=True)
    reading.start()
    reading.join(20)
    assert not reading.is_alive(), "it waits for ever"
    return errors[0]


@pytest.mark.parametrize("make", [fifo, bound_socket, device])
def test_only_regular_files_are_read(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.png")
    error = error_of(lambda: read_pictures([tmp_path / "a.png"], 8))
    assert "a.png: this is no regular file but a pipe, socket or device" in error


def test_missing_files_and_folders_are_said_to_be_that(tmp_path: Path) -> None:
    (tmp_path / "broken.png").symlink_to(tmp_path / "nothing")
    for name, problem in {
        "nothing.png": "there is no such file",
        "broken.png": "there is no such file",
        "": "this is a folder",
    }.items():
        with pytest.raises(DataError, match=problem):
            read_pictures([tmp_path / name], 8)


def huge_png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def huge_gif() -> bytes:
    content = bytearray(encoded("GIF", mode="P"))
    content[6:10] = b"\xff\xff\xff\xff"
    return bytes(content)


def huge_bmp() -> bytes:
    content = bytearray(encoded("BMP"))
    content[18:26] = struct.pack("<ii", 60_000, 60_000)
    return bytes(content)


@pytest.mark.parametrize("image_size", [None, 8])
@pytest.mark.parametrize("content", [huge_png(), huge_gif(), huge_bmp(), b"P6 60000 60000 255\n"])
def test_a_huge_picture_is_refused_before_it_is_decoded(
    content: bytes, image_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"more than 134 megapixels, .*; make it smaller"):
        decode(content, image_size)


@pytest.mark.filterwarnings("error")
def test_a_large_picture_needs_an_image_size() -> None:
    content = encoded("PNG", (10_000, 9_000), "1")
    with pytest.raises(DataError, match=r"9000x10000, more than 17 megapixels; .*--image-size 64"):
        decode(content, None)
    assert decode(content, 8).shape == (3, 8, 8)


def test_pictures_that_do_not_fit_into_memory_are_refused() -> None:
    with pytest.raises(DataError, match=r"pictures of 400x600 pixels take .* GB of memory; .*size"):
        decode_all([("a", encoded("PNG", (600, 400)))], 10**12, None)


def test_pipes_hold_no_tables_and_no_arrays(tmp_path: Path) -> None:
    test = load_data("digits").test
    for name in ("train.parquet", "test.parquet", "noise.npy"):
        os.mkfifo(tmp_path / name)
    np.save(tmp_path / "labels.npy", test.labels.repeat(5).numpy())
    error = error_of(lambda: load_data("mine", tmp_path))
    assert "train.parquet: not a readable parquet file (no regular file" in error
    error = error_of(lambda: PublishedCorruptions.open(tmp_path, test))
    assert "noise.npy: not a readable NumPy array (no regular file" in error


@pytest.mark.parametrize("kind", ["BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_truncated_pictures_are_refused(kind: str) -> None:
    content = encoded(kind, (40, 40))
    for length in (len(content) // 3, len(content) // 2):
        with pytest.raises(DataError, match="the image cannot be decoded"):
            decode(content[:length], None)
