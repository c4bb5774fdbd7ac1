"""SIGINT, SIGTERM and SIGHUP at any moment."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from faults.bench import Bench, Blow
from faults.kind import Kind, Trial, Verdict, resumed


class Signals(Kind):
    """A run that is asked to end: it says so, with the exit code of the signal, and resumes."""

    name = "signal at any moment"

    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield two trials for every signal, ``times`` times: with one job, and with two."""
        for _ in range(times):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                for jobs in (1, 2):
                    share = draw.uniform(0.2, 0.9)
                    name = f"{number.name} after {share:.0%}, {jobs} jobs"
                    yield Trial(name, partial(_signal, number, share, jobs))


def _signal(number: signal.Signals, share: float, jobs: int, bench: Bench, run: Path) -> Verdict:
    seconds = share * bench.seconds * (1 if jobs == 1 else 3)
    ended = bench.run(run, jobs=jobs, blow=Blow(number, seconds))
    if ended.code not in (0, 128 + number):
        return Verdict(False, "odd exit", f"exit code {ended.code}: {ended.err}")
    if ended.code and ("run the same command" not in ended.err or "Traceback" in ended.err):
        return Verdict(False, "unclear", ended.err)
    return resumed(bench, run)
