"""SIGKILL at every kind of half-written file, and at any moment."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from faults.bench import Bench, Blow
from faults.kind import Kind, Trial, Verdict, resumed
from faults.server import AFTER, BEFORE, HALF

WRITTEN = {
    "the mark of the run": (".owner.json", 1),
    "recipe.yaml": ("recipe.yaml", 1),
    "test-labels.json": ("test-labels.json", 1),
    "results.json": ("results.json", 10),
    "results of a suite": ("results-quick.json", 10),
    "weights": ("model.safetensors", 5),
    "a model's description": ("model.json", 5),
    "outcomes": ("outcomes/*.npz", 2),
    "illustrations": ("illustrations/*.npz", 1),
    "a stage's record": ("stages/*.json", 10),
    "a checkpoint": ("checkpoint", 12),
    "rows so far": ("rows.npz", 6),
}
"""Patterns of what a run writes, and how many such files at least."""


class KillsAtFiles(Kind):
    """A process that is killed while it writes a file, or just before or after its renaming."""

    name = "kill at a file"

    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield one trial for every file and moment, ``times`` times."""
        for _ in range(times):
            for what, (pattern, files) in WRITTEN.items():
                for when in (HALF, BEFORE, AFTER):
                    nth = draw.randint(1, files)
                    name = f"{when} {what} (number {nth})"
                    yield Trial(name, partial(_kill_at, pattern, when, nth))


class KillsAtRandom(Kind):
    """A process that is killed at any moment, alone or with processes that do its stages."""

    name = "kill at any moment"

    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield twenty times ``times`` trials; every fifth has two jobs."""
        for i in range(20 * times):
            jobs = 2 if i % 5 == 4 else 1
            share = draw.uniform(0.0, 1.0)
            yield Trial(f"after {share:.0%}, {jobs} jobs", partial(_kill_after, share, jobs))


def _kill_at(pattern: str, when: str, nth: int, bench: Bench, run: Path) -> Verdict:
    ended = bench.run(run, file=pattern, when=when, nth=nth)
    if ended.code != -signal.SIGKILL:
        return Verdict(False, "never killed", f"exit code {ended.code}: {ended.err}")
    return resumed(bench, run)


def _kill_after(share: float, jobs: int, bench: Bench, run: Path) -> Verdict:
    seconds = share * bench.seconds * (1 if jobs == 1 else 3)  # processes start slowly
    ended = bench.run(run, jobs=jobs, blow=Blow(signal.SIGKILL, seconds))
    if ended.code not in (0, -signal.SIGKILL):
        return Verdict(False, "odd exit", f"exit code {ended.code}: {ended.err}")
    return resumed(bench, run)
