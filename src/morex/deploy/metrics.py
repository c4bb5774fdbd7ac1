"""What a server counts, in the text format of Prometheus.

=========================  =========  =========================================================
``morex_requests``         counter    requests by path and status; 499 if the client hung up
``morex_request_seconds``  histogram  time from the head of a request for a prediction to its answer
``morex_batch_size``       histogram  pictures that were classified together
``morex_queue_length``     gauge      requests that are accepted and not answered yet
``morex_gate_weight``      summary    weights of the gate by expert: their sum and number
``morex_gate_recent``      gauge      the mean weight by expert over the last 1,000 pictures
=========================  =========  =========================================================

A gate that is given other pictures than in training spreads its weight in another way, so a change
of ``morex_gate_recent`` is a sign of drift.
"""

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

RECENT = 1_000
"""Over how many pictures the recent mean weights are taken."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the format."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Histogram:
    """How many values are at most each of some bounds, their number and their sum.

    Args:
        bounds: rising upper bounds of the buckets.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Yield the samples: cumulative buckets, sum and count."""
        total = 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            total += count
            limit = "+Inf" if bound is None else f"{bound:g}"
            yield _sample(f"{name}_bucket", total, le=limit)
        yield _sample(f"{name}_sum", self.sum)
        yield _sample(f"{name}_count", total)


@dataclass
class Metrics:
    """The counts of a server. Any thread may add to them."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=lambda: Histogram(_SECONDS))
    batches: Histogram = field(default_factory=lambda: Histogram(_SIZES))
    gate_sums: dict[str, float] = field(default_factory=dict)
    gate_count: int = 0
    recent: deque[Mapping[str, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_request(self, path: str, status: int, seconds: float | None = None) -> None:
        """Count a request; ``seconds`` is how long it took, if that is measured."""
        with self._lock:
            self.requests[path, status] += 1
            if seconds is not None:
                self.seconds.add(seconds)

    def count_batch(self, size: int, weights: Sequence[Mapping[str, float]]) -> None:
        """Count a batch, with the gate's weights for each picture if there is a gate."""
        with self._lock:
            self.batches.add(size)
            for each in filter(None, weights):
                self.gate_count += 1
                self.recent.append(each)
                for name, weight in each.items():
                    self.gate_sums[name] = self.gate_sums.get(name, 0.0) + weight

    def to_text(self, queue: int) -> str:
        """Return everything in the text format.

        Args:
            queue: how many requests are accepted and not answered yet.
        """
        with self._lock:
            return "\n".join([*self._lines(queue), ""])

    def _lines(self, queue: int) -> Iterator[str]:
        yield from _head("morex_requests_total", "counter", "Requests by path and status.")
        for (path, status), count in sorted(self.requests.items()):
            yield _sample("morex_requests_total", count, path=path, status=str(status))
        yield from _head("morex_request_seconds", "histogram", "Seconds to answer /predict.")
        yield from self.seconds.lines("morex_request_seconds")
        yield from _head("morex_batch_size", "histogram", "Pictures classified together.")
        yield from self.batches.lines("morex_batch_size")
        yield from _head("morex_queue_length", "gauge", "Requests that are not answered yet.")
        yield _sample("morex_queue_length", queue)
        yield from self._gate_lines()

    def _gate_lines(self) -> Iterator[str]:
        if not self.gate_sums:
            return
        yield from _head("morex_gate_weight", "summary", "Weights of the gate by expert.")
        for name, total in self.gate_sums.items():
            yield _sample("morex_gate_weight_sum", total, expert=name)
            yield _sample("morex_gate_weight_count", self.gate_count, expert=name)
        text = f"Mean weight by expert over the last {RECENT} pictures."
        yield from _head("morex_gate_recent", "gauge", text)
        for name in self.gate_sums:
            mean = sum(each[name] for each in self.recent) / len(self.recent)
            yield _sample("morex_gate_recent", mean, expert=name)


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _sample(name: str, value: float, **labels: str) -> str:
    written = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{written}}} {value!r}" if written else f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
