"""Evaluations in parts: how many parts, where their results are kept, and how far all of them are.

A part is work of an evaluation that is done ahead, by any worker. Its results lie beside those of
the unfinished evaluation. The evaluation itself then takes what the parts have found, so that a
part that is missing or damaged is only done later.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from morex.artifacts.pieces import Pieces
from morex.core.stopping import asked_to_stop, stop_if_asked
from morex.evaluation.batches import Part
from morex.run.builder import Builder
from morex.run.costs import stage_passes
from morex.run.events import Event, Observer, PartProgressed, Progressed, Started
from morex.run.stages import Stage

_PASSES = 20
"""The fewest passes per image that are worth a part, which asks for the answers to all images."""

_PER_WORKER = 2
"""A task of an evaluation is at most this part, one half, of the share of a worker in all work."""


def most_parts(builder: Builder, stage: Stage) -> int:
    """Return into how many parts a stage may be cut: it needs as many batches, and enough work."""
    if stage.kind != "evaluate":
        return 1
    n, size = len(builder.test_rows), builder.settings.batch_size
    batches = sum(math.ceil(row.count(n) / size) for row in builder.suite(stage.suite))
    return max(1, min(batches, int(stage_passes(builder, stage).total / n / _PASSES)))


def wanted_parts(work: float, all_work: float, workers: int, idle: int, ready: int) -> int:
    """Return into how many parts to cut an evaluation so that no worker waits for it for long.

    Args:
        work: of the evaluation.
        all_work: of all stages.
        workers: how many there are.
        idle: how many of them have nothing to do.
        ready: how many stages can begin, with this one.
    """
    if workers == 1:
        return 1
    long = math.ceil(_PER_WORKER * workers * work / all_work) if all_work else 1
    return min(workers, max(long, idle // max(ready, 1)))


def chain_work(
    stages: Collection[tuple[str, tuple[str, ...]]], work: Mapping[str, float]
) -> dict[str, float]:
    """Return, for each stage, the work of the longest chain of stages that begins with it.

    Args:
        stages: their ids and what they need, in an order in which each comes after that.
        work: of each stage.
    """
    longest: dict[str, float] = {}
    behind: dict[str, float] = {}
    for name, needs in reversed([*stages]):
        longest[name] = work[name] + behind.get(name, 0.0)
        for need in needs:
            behind[need] = max(behind.get(need, 0.0), longest[name])
    return longest


def saved_parts(work: Path, notice: Callable[[str], None]) -> dict[str, Pieces]:
    """Return what parts have found, by file; a damaged file is removed.

    Args:
        work: the folder of the unfinished evaluation.
        notice: called with a message if a file is damaged.
    """
    found = {}
    with suppress(OSError):  # network storage lists a folder anew once it was written to
        (work / ".look").touch()
        (work / ".look").unlink()
    for path in sorted(work.glob("part-*.npz")):
        try:
            found[path.name] = Pieces.load(path)
        except ValueError as error:
            notice(f"{error}; the part starts again")
            path.unlink(missing_ok=True)
    return found


def part_file(work: Path, part: Part) -> Path:
    """Return the file of a part."""
    return work / f"part-{part}.npz"


class PartKeeper:
    """Writes the results of a part, at most once in ``every`` seconds and at its end."""

    def __init__(self, path: Path, every: float, report: Callable[[float], None]) -> None:
        self.path, self.every, self.report = path, every, report
        self.last = time.monotonic()

    def __call__(self, found: Pieces, share: float) -> None:
        """Write what has been found, if it is time; then stop if the process is asked to."""
        if share == 1 or time.monotonic() - self.last >= self.every or asked_to_stop():
            found.save(self.path)
            self.last = time.monotonic()
            stop_if_asked()
        self.report(share)


@dataclass
class PartsTogether:
    """An observer that hands on the events of parts as those of their evaluation."""

    observer: Observer
    started: set[str] = field(default_factory=set)
    shares: dict[str, dict[int, float]] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """Hand an event on: a stage starts once, and its share is that of all parts together."""
        match event:
            case Started(stage):
                if stage.id not in self.started:
                    self.started.add(stage.id)
                    self.observer(event)
            case PartProgressed(stage, number, of, share):
                self.shares.setdefault(stage.id, {})[number] = share
                together = sum(self.shares[stage.id].values()) / of
                self.observer(Progressed(stage, together, f"in {of} parts"))
            case Progressed(stage, share, text) if its := self.shares.get(stage.id):
                least = sum(its.values()) / len(its)
                self.observer(Progressed(stage, max(share, least), text))
            case _:
                self.observer(event)
