"""Pieces of rows: the outcomes of single batches, which may be attacked anywhere and in any order.

Random draws depend on the number of a batch in its row, and a batch holds the next images that are
right without an attack. So the outcomes of a batch are the same whoever attacks it, as long as all
agree on which images these are.
"""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from morex.artifacts.notes import What
from morex.artifacts.statistics import BoolArray
from morex.core.files import check_unpacked_size, read_file, write_atomically
from morex.core.strict_json import parse_json

_RIGHT, _ABOUT = "right", "about"


@dataclass(frozen=True, eq=False)
class Piece:
    """What is known of the images that one batch of a row covers.

    Attributes:
        start: index of the first image.
        right: where the model is right on the images from there on, (n,).
        noticed: on how many of them something is worth a note.
    """

    start: int
    right: BoolArray
    noticed: Mapping[What, int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The index after that of the last image."""
        return self.start + len(self.right)


@dataclass(eq=False)
class Pieces:
    """The pieces of an evaluation that are known, by row and number of the batch.

    Attributes:
        batches: a checksum of what decides which images each batch holds. Pieces with another one
            cannot be used.
        found: the pieces.
        seconds: how long it took to find them.
    """

    batches: str
    found: dict[tuple[str, int], Piece] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def joined(cls, batches: str, all_pieces: Iterable["Pieces"]) -> "Pieces":
        """Return those of some pieces that are of the same batches, in one."""
        result = cls(batches)
        for pieces in all_pieces:
            if pieces.batches == batches:
                result.found |= pieces.found
                result.seconds += pieces.seconds
        return result

    def save(self, path: Path) -> None:
        """Write a compressed ``.npz``, whole or not at all. The folder must exist."""
        buffer = io.BytesIO()
        index = [[*at, p.start, len(p.right), dict(p.noticed)] for at, p in self.found.items()]
        about = {"batches": self.batches, "seconds": self.seconds, "index": index}
        arrays: dict[str, Any] = {
            _RIGHT: np.concatenate([np.zeros(0, np.bool_), *(p.right for p in self.found.values())])
        }
        arrays[_ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez_compressed(buffer, **arrays)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote; nothing is unpickled.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged or holds something else.
        """
        data = read_file(path)
        try:
            return cls(*_content(data))
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged bytes
            raise ValueError(f"{path}: not a readable part of an evaluation ({error})") from error


def _content(data: bytes) -> tuple[str, dict[tuple[str, int], Piece], float]:
    check_unpacked_size(data)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        right, about = archive[_RIGHT], parse_json(archive[_ABOUT].tobytes())
    if right.dtype != np.bool_ or right.ndim != 1:
        raise ValueError(f"expected booleans of shape (n,), got {right.dtype} {right.shape}")
    found, at = dict[tuple[str, int], Piece](), 0
    for row, number, start, count, noticed in about["index"]:
        found[row, number] = Piece(start, right[at : at + count], noticed)
        at += count
    if at != len(right):
        raise ValueError(f"expected {at} booleans, got {len(right)}")
    return str(about["batches"]), found, float(about["seconds"])
