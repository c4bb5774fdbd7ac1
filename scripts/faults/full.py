"""A disk that is full at any kind of file."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from faults.bench import Bench
from faults.kills import WRITTEN
from faults.kind import Kind, Trial, Verdict, resumed
from faults.server import HALF


class FullDisk(Kind):
    """The run ends with one sentence about it, and goes on when there is room again."""

    name = "full disk"

    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield one trial for every kind of file, ``times`` times."""
        for _ in range(times):
            for what, (pattern, files) in WRITTEN.items():
                nth = draw.randint(1, files)
                yield Trial(f"full at {what} (number {nth})", partial(_full_at, pattern, nth))


def _full_at(pattern: str, nth: int, bench: Bench, run: Path) -> Verdict:
    ended = bench.run(run, file=pattern, when=HALF, nth=nth, full=True)
    if ended.code != 2 or "Traceback" in ended.err or "no space left" not in ended.err.lower():
        return Verdict(False, "unclear", f"exit code {ended.code}: {ended.err}")
    return resumed(bench, run)
