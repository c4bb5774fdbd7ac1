"""Outcomes: one boolean per example and attack, from which every reported figure is computed.

Accuracies, unions, means and intervals are never stored instead of outcomes, so that any other
figure can be computed later from the same run.
"""

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from morex.artifacts.notes import Note, NoteBook, from_json, to_json
from morex.artifacts.origins import Origin, Origins
from morex.artifacts.statistics import BoolArray, Proportion
from morex.core.files import check_unpacked_size, read_file, write_atomically
from morex.core.near import did_you_mean
from morex.core.strict_json import parse_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ORIGINS, _NOTES = "_origins", "_notes"  # JSON in bytes; no row can have these names
_INDEX = "rows"  # the array in a file that lists the others: a lost one cannot go unnoticed
_RESERVED = frozenset({"file", "allow_pickle", _INDEX})  # the first two: numpy.savez's arguments
REDO = "delete it and run the same command again: its stage will be redone"
"""What to do about a damaged file of a run."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """For one model: the examples on which it is still right under each attack.

    ``right`` maps a row name (one attack of a suite) to a boolean array (n_row,). Rows may cover
    different numbers of examples, but always a prefix of one and the same order: a row of 300
    covers examples 0..299. The arrays are copied and made read-only. ``origins`` has what each row
    was measured on and how; older files have none. ``notes`` has what else the evaluation noticed
    about the model.

    Raises:
        ValueError: if there is no row, a row name is not made of letters, digits and ``._+-``, an
            array is not one-dimensional, boolean and non-empty, or an origin is of no row.
    """

    right: Mapping[str, BoolArray]
    origins: Origins = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        """Check the rows and take read-only copies."""
        if lost := [row for row in self.origins if row not in self.right]:
            raise ValueError(f"origins of rows that are not there: {', '.join(lost)}")
        if not self.right:
            raise ValueError("outcomes need at least one row, got none")
        rows = {name: _checked_row(name, right) for name, right in self.right.items()}
        object.__setattr__(self, "right", rows)

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows, in the order of measurement."""
        return tuple(self.right)

    def accuracy(self, row: str) -> Proportion:
        """Return the share of the row's examples on which the model is still right.

        Raises:
            ValueError: if there is no such row.
        """
        return Proportion.of(self._row(row))

    def union(self, rows: Iterable[str] | None = None) -> BoolArray:
        """Return, per example, whether the model is right under every one of ``rows``.

        Only the examples that all those rows cover are judged: the result is (min n_row,).

        Args:
            rows: names of rows; all of them by default.

        Raises:
            ValueError: if a row is unknown or none is given.
        """
        chosen = self._chosen(rows)
        shared = min(map(len, chosen))
        still_right: BoolArray = np.logical_and.reduce([right[:shared] for right in chosen])
        return still_right

    def mean(self, rows: Iterable[str] | None = None) -> float:
        """Return the plain mean of the accuracies of ``rows`` (default: all), in [0, 1].

        Every row counts the same, however many examples it covers.

        Raises:
            ValueError: if a row is unknown or none is given.
        """
        return float(np.mean([Proportion.of(right).value for right in self._chosen(rows)]))

    def save(self, path: Path | str) -> None:
        """Write a compressed ``.npz``, whole or not at all: an array per row, names and origins.

        The folder must exist. Equal outcomes give equal bytes.
        """
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {_INDEX: np.array(self.rows), **self.right}
        if self.origins:
            content = {row: origin.content() for row, origin in self.origins.items()}
            arrays[_ORIGINS] = np.frombuffer(json.dumps(content).encode(), np.uint8)
        if self.notes:
            arrays[_NOTES] = np.frombuffer(to_json(self.notes), np.uint8)
        np.savez_compressed(buffer, **arrays)
        write_atomically(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote; nothing is unpickled.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged or holds something else.
        """
        data = read_file(Path(path))
        try:
            return cls(*_content(data))
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged bytes
            raise ValueError(f"{path}: not a readable outcomes file ({error}); {REDO}") from error

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Return the rows of all parts in one; of two with the same name, the later one stays."""
        right, origins, notes = dict[str, BoolArray](), dict[str, Origin](), NoteBook()
        for part in parts:
            right |= part.right
            origins |= part.origins
            notes.take(part.notes, part.rows)
        return cls(right, origins, tuple(notes))

    def _row(self, row: str) -> BoolArray:
        if row not in self.right:
            near = did_you_mean(row, self.right)
            raise ValueError(
                f"no outcomes for row {row!r}; {near}there are {', '.join(self.right)}"
            )
        return self.right[row]

    def _chosen(self, rows: Iterable[str] | None) -> list[BoolArray]:
        chosen = [self._row(row) for row in (self.right if rows is None else rows)]
        if not chosen:
            raise ValueError("expected at least one row name, got none")
        return chosen


def _checked_row(name: str, right: BoolArray) -> BoolArray:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(
            f"row name {name!r}: expected letters, digits and any of ._+- (no spaces), "
            f"and none of {', '.join(sorted(_RESERVED))}"
        )
    copied = np.array(right)
    if copied.dtype != np.bool_ or copied.ndim != 1 or not copied.size:
        raise ValueError(
            f"row {name!r}: expected a non-empty boolean array of shape (n,), "
            f"got {copied.dtype} {copied.shape}"
        )
    copied.setflags(write=False)
    return copied


def _content(
    data: bytes,
) -> tuple[dict[str, BoolArray], dict[str, Origin], tuple[Note, ...]]:
    check_unpacked_size(data)
    archive = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("expected a .npz archive of boolean arrays, got a single array")
    with archive:
        right = {name: archive[name] for name in archive[_INDEX].tolist()}
        origins = parse_json(archive[_ORIGINS].tobytes()) if _ORIGINS in archive else {}
        notes = from_json(archive[_NOTES].tobytes()) if _NOTES in archive else ()
    return right, {row: Origin.model_validate(o) for row, o in origins.items()}, notes
