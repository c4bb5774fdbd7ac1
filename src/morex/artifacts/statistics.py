"""Statistics of right and wrong answers: intervals of proportions, and paired comparisons."""

from dataclasses import asdict, dataclass
from fractions import Fraction
from math import comb, sqrt
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from morex.core.units import percent

BoolArray = NDArray[np.bool_]
"""One boolean per image."""


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
        first, second: shares of right answers.
        only_first, only_second: how often one is right and the other is wrong.
        n: number of examples.
        p: p-value of McNemar's exact test: the probability of a split at least this lopsided of
            the examples on which the two differ, if neither is better.
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

    def content(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {**asdict(self), "p": self.p}


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

    def __str__(self) -> str:
        """Return for example ``41.2%  95% interval 32.1 to 51.0%, n 100``."""
        low, high = (100 * end for end in self.interval)
        return f"{percent(self.value)}  95% interval {low:.1f} to {high:.1f}%, n {self.n}"

    def content(self) -> dict[str, Any]:
        """Return accuracy, Wilson's 95% interval and n as JSON values."""
        return {"accuracy": self.value, "interval": self.interval, "n": self.n}


def _check_counts(hits: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"a proportion needs at least one example, got n = {n}")
    if not 0 <= hits <= n:
        raise ValueError(f"hits must lie in 0..{n}, got {hits}")
