"""What a kind of fault is, and what may come of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from faults.bench import Bench


@dataclass(frozen=True)
class Verdict:
    """What came of a trial.

    Args:
        good: whether a user lost nothing and was told what to do.
        what: in a word or two, for the table.
        details: what a developer needs if it is not good.
    """

    good: bool
    what: str
    details: str = ""


@dataclass(frozen=True)
class Trial:
    """One fault.

    Args:
        name: what it is, in words.
        attempt: does it in an empty folder.
    """

    name: str
    attempt: Callable[[Bench, Path], Verdict]


class Kind(ABC):
    """A kind of fault."""

    name: str

    @abstractmethod
    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield the trials, all drawn from ``draw``.

        Args:
            draw: where random choices come from.
            times: how often each of them is tried.
        """


def resumed(bench: Bench, run: Path) -> Verdict:
    """Run the same command again; the run has to end with the bits of a run without a fault."""
    again = bench.run(run)
    if again.code != 0:
        return Verdict(False, "does not resume", f"exit code {again.code}: {again.err}")
    if differing := bench.differing(run):
        return Verdict(False, "other bits", ", ".join(differing))
    if left := [str(path.relative_to(run)) for path in run.rglob("*.part")]:
        return Verdict(False, "leaves parts of files", ", ".join(left))
    return Verdict(True, "same bits")
