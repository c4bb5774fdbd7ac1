"""Outcomes: one boolean per example and attack, from which every reported figure is computed.

Accuracies, unions, means and intervals are never stored in the place of outcomes, so that any
other figure can be computed later from the same run.
"""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from morex.files import write_atomically

BoolArray = NDArray[np.bool_]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_INDEX = "rows"  # the array in a file that lists the others: a lost one cannot go unnoticed
_RESERVED = frozenset({"file", "allow_pickle", _INDEX})  # the first two: numpy.savez's arguments
_REDO = "delete it and run the same command again: its stage will be redone"


def wilson_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's two-sided score interval for a proportion.

    With p = hits/n and z the normal quantile of (1 + confidence)/2, the interval is
    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), inside [0, 1] (Wilson 1927). Unlike
    p +- z sqrt(p(1-p)/n) it keeps a width above zero at 0 and n hits.

    Raises:
        ValueError: unless n >= 1, 0 <= hits <= n and 0 < confidence < 1.
    """
    _check_counts(hits, n)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = hits / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    # The ends are exact at 0 and n hits; rounding must not move them.
    return (0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same examples: how often only one of them is right.

    Attributes:
        first, second: their shares of right answers.
        only_first, only_second: how often one is right and the other is not.
        p: of McNemar's exact test: how likely so lopsided a split of the examples on which they
            differ is, or a more lopsided one, if neither is better.
    """

    first: float
    second: float
    only_first: int
    only_second: int
    n: int

    @classmethod
    def of(cls, first: BoolArray, second: BoolArray) -> Self:
        """Compare boolean arrays of the same examples; the longer one is cut.

        Raises:
            ValueError: if one is empty.
        """
        n = min(len(first), len(second))
        if not n:
            raise ValueError("a comparison needs at least one example, got none")
        a, b = first[:n], second[:n]
        only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
        return cls(float(a.mean()), float(b.mean()), only_first, only_second, n)

    @property
    def p(self) -> float:
        """Return the two-sided p-value, in (0, 1] (McNemar 1947, exact)."""
        differ = self.only_first + self.only_second
        fewer = min(self.only_first, self.only_second)
        tail = sum(comb(differ, k) for k in range(fewer + 1))
        return min(1.0, float(2 * Fraction(tail, 2**differ)))


@dataclass(frozen=True)
class Proportion:
    """``hits`` of ``n`` examples.

    Raises:
        ValueError: unless n >= 1 and 0 <= hits <= n.
    """

    hits: int
    n: int

    def __post_init__(self) -> None:
        """Check the counts."""
        _check_counts(self.hits, self.n)

    @classmethod
    def of(cls, right: BoolArray) -> Self:
        """Count the true values of a boolean array."""
        return cls(hits=int(np.count_nonzero(right)), n=right.size)

    @property
    def value(self) -> float:
        """hits / n, in [0, 1]."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval, in [0, 1]."""
        return wilson_interval(self.hits, self.n)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """For one model: on which examples it is still right under each attack.

    ``right`` maps a row name (one attack of a suite) to a boolean array (n_row,). Rows may cover
    different numbers of examples, but always a prefix of one and the same order: a row of 300
    covers examples 0..299. The arrays are copied and made read-only.

    Raises:
        ValueError: if there is no row, a row name is not made of letters, digits and ``._+-``, or
            an array is not one-dimensional, boolean and non-empty.
    """

    right: Mapping[str, BoolArray]

    def __post_init__(self) -> None:
        """Check the rows and take read-only copies."""
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
        """Write a compressed ``.npz``, whole or not at all: an array per row, and their names.

        The folder must exist. Equal outcomes give equal bytes.
        """
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {_INDEX: np.array(self.rows), **self.right}
        np.savez_compressed(buffer, **arrays)
        write_atomically(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote; nothing is unpickled.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged or holds something else.
        """
        data = Path(path).read_bytes()
        try:
            return cls(_arrays(data))
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged bytes
            raise ValueError(f"{path}: not a readable outcomes file ({error}); {_REDO}") from error

    def _row(self, row: str) -> BoolArray:
        if row not in self.right:
            raise ValueError(f"no outcomes for row {row!r}; there are {', '.join(self.right)}")
        return self.right[row]

    def _chosen(self, rows: Iterable[str] | None) -> list[BoolArray]:
        chosen = [self._row(row) for row in (self.right if rows is None else rows)]
        if not chosen:
            raise ValueError("expected at least one row name, got none")
        return chosen


def _check_counts(hits: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"a proportion needs at least one example, got n = {n}")
    if not 0 <= hits <= n:
        raise ValueError(f"hits must lie in 0..{n}, got {hits}")


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


def _arrays(data: bytes) -> dict[str, BoolArray]:
    archive = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("expected a .npz archive of boolean arrays, got a single array")
    with archive:
        return {name: archive[name] for name in archive[_INDEX].tolist()}
