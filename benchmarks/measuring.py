"""How a ratio is measured so that a noisy machine does not spoil it, and the goal it has."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Work = Callable[[], object]


@dataclass(frozen=True)
class Measurement:
    """A ratio and its goal.

    Args:
        name: what is compared with what.
        value: the ratio.
        goal: a bound that it should keep; None if it has no goal.
        most: whether the goal is an upper bound, not a lower one.
        about: the numbers behind it.
    """

    name: str
    value: float
    goal: float | None = None
    most: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.most else self.value >= self.goal


def seconds(work: Work) -> float:
    """Return how many seconds a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(slow: Work, fast: Work, rounds: int = 5) -> tuple[float, dict[str, float]]:
    """Return the median over the rounds of time(slow) / time(fast), and the median times.

    The two take turns, so that a machine that slows down slows both. The first turn of each is a
    warm-up and does not count.
    """
    slow(), fast()
    times = [(seconds(slow), seconds(fast)) for _ in range(rounds)]
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    value = statistics.median(a / b for a, b in times)
    return value, {"seconds": round(first, 5), "against_seconds": round(second, 5)}
