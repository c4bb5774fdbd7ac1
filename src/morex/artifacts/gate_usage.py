"""How a gate spreads its weight over the experts of a mixture, and what that says about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log2

from pydantic import Field

from morex.artifacts.schema import Schema

APART = 0.2
"""A gate tells perturbations apart if at least this much weight moves between two of them."""

TIED = 0.02
"""Experts are tied if their mean weights differ by at most this under every perturbation."""


_ROUNDING = 1e-9


@dataclass(frozen=True)
class Shift:
    """The two rows between which a gate moves the most weight.

    ``moved`` is the total variation of their mean weights v and w, 1/2 sum_i |v_i - w_i|: 0 if both
    have the same weights, 1 if no expert has weight in both.
    """

    rows: tuple[str, str]
    moved: float


class GateUsage(Schema):
    """The gate's weights, measured on test images under each row of a suite.

    Attributes:
        experts: the mixture's experts.
        weights: for each row the mean weight of every expert; they sum to 1.
        leads: for each row the share of images on which an expert has the largest weight.
        entropy: for each row the mean over the images of -sum_i w_i log2 w_i, in bits: 0 if one
            expert has all the weight, log2(experts) if all have the same. Older files lack it.
        agreement: for each pair of experts the share of images, over all rows, for which both
            predict the same class; (experts, experts). Older files lack it.
        n: number of images.
    """

    experts: tuple[str, ...]
    weights: dict[str, tuple[float, ...]]
    leads: dict[str, tuple[float, ...]]
    entropy: dict[str, float] = Field(default_factory=dict)
    agreement: tuple[tuple[float, ...], ...] = ()
    n: int

    @property
    def largest_entropy(self) -> float:
        """The entropy of equal weights, log2(experts) bits."""
        return log2(len(self.experts))

    @property
    def shift(self) -> Shift | None:
        """The largest shift of weight between two rows; None if there are fewer than two."""
        pairs = combinations(self.weights, 2)
        found = (Shift(pair, _moved(*(self.weights[row] for row in pair))) for pair in pairs)
        return max(found, key=lambda shift: shift.moved, default=None)

    @property
    def tells_apart(self) -> bool:
        """Whether at least ``APART`` of the weight moves between two rows."""
        return self.shift is not None and self.shift.moved >= APART - _ROUNDING

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """The largest groups of experts that get the same weight under every row, within TIED."""
        groups: list[list[int]] = []
        for i in range(len(self.experts)):
            same = (group for group in groups if all(self._same(i, j) for j in group))
            group = next(same, None)
            if group is None:
                groups.append([i])
            else:
                group.append(i)
        return tuple(tuple(self.experts[i] for i in g) for g in groups if len(g) > 1)

    @property
    def unused(self) -> tuple[str, ...]:
        """The experts whose mean weight is at most TIED under every row."""
        most = (max(by_row) for by_row in zip(*self.weights.values(), strict=True))
        return tuple(e for e, weight in zip(self.experts, most, strict=True) if weight <= TIED)

    @property
    def agreements(self) -> tuple[tuple[str, str, float], ...]:
        """The pairs of experts and how often they agree, the most alike first."""
        pairs = combinations(range(len(self.experts)), 2) if self.agreement else ()
        found = [(self.experts[i], self.experts[j], self.agreement[i][j]) for i, j in pairs]
        return tuple(sorted(found, key=lambda pair: -pair[2]))

    def _same(self, i: int, j: int) -> bool:
        """Return whether two experts, both of them used, have the same weight under every row."""
        if {self.experts[i], self.experts[j]} & {*self.unused}:
            return False
        return all(abs(line[i] - line[j]) <= TIED + _ROUNDING for line in self.weights.values())


def entropy_in_bits(weights: Sequence[float]) -> float:
    """Return -sum_i w_i log2 w_i: 0 if one weight is 1, log2(n) if n weights are equal."""
    return sum(-w * log2(w) for w in weights if w > 0)  # never -0.0


def _moved(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(abs(v - w) for v, w in zip(first, second, strict=True)) / 2
