"""Ways to damage a file."""

from collections.abc import Callable
from pathlib import Path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None
