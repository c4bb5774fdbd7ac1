"""How long a run would take on several workers, from the time that each stage takes on one.

It begins stages and cuts evaluations as a run does. Workers are alike and stages do not disturb one
another: neither storage nor the network is slow.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from morex.run.parts import chain_work, wanted_parts


@dataclass(frozen=True)
class Timed:
    """A stage and its time.

    Attributes:
        id: its id.
        needs: ids of the stages that it reads, which come before it.
        seconds: of one worker.
        parts: into how many parts it may be cut; 1 for all but evaluations.
    """

    id: str
    needs: tuple[str, ...]
    seconds: float
    parts: int = 1


@dataclass(frozen=True)
class Simulated:
    """A run on several workers.

    Attributes:
        workers: how many.
        seconds: from the first stage to the end of the last one.
        work: of all stages, in seconds of one worker.
        chain: the stages that follow one another for longest, and end the run.
        chain_seconds: the time of that chain, which no number of workers makes shorter.
    """

    workers: int
    seconds: float
    work: float
    chain: tuple[str, ...]
    chain_seconds: float

    @property
    def used(self) -> float:
        """The share of the workers' time in which they work, in [0, 1]."""
        return self.work / (self.workers * self.seconds) if self.seconds else 1.0


def simulate(stages: Sequence[Timed], workers: int) -> Simulated:
    """Return how a run of some stages goes on a number of workers.

    Args:
        stages: in an order in which each comes after what it needs.
        workers: how many stages or parts are in progress at a time.
    """
    run = _Run(stages, workers)
    chain = _chain(stages, workers)
    times = {stage.id: _shortest(stage, workers) for stage in stages}
    total = sum(stage.seconds for stage in stages)
    return Simulated(workers, run.seconds(), total, chain, sum(times[name] for name in chain))


def _shortest(stage: Timed, workers: int) -> float:
    return stage.seconds / min(stage.parts, workers)


def _chain(stages: Sequence[Timed], workers: int) -> tuple[str, ...]:
    """Return the chain of stages that takes longest if all evaluations are in parts."""
    work = {stage.id: _shortest(stage, workers) for stage in stages}
    longest = chain_work([(stage.id, stage.needs) for stage in stages], work)
    chain: list[str] = []
    ready = [stage.id for stage in stages if not stage.needs]
    while ready:
        chain.append(max(ready, key=lambda name: longest[name]))
        ready = [stage.id for stage in stages if chain[-1] in stage.needs]
    return tuple(chain)


@dataclass
class _Run:
    """The stages in progress, and those that wait."""

    stages: Sequence[Timed]
    workers: int
    now: float = 0.0
    done: set[str] = field(default_factory=set)
    in_progress: list[tuple[float, str]] = field(default_factory=list)
    queue: list[tuple[str, float]] = field(default_factory=list)
    remaining: dict[str, int] = field(default_factory=dict)
    behind: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        """Compute what decides the order."""
        work = {stage.id: stage.seconds for stage in self.stages}
        self.behind = chain_work([(s.id, s.needs) for s in self.stages], work)
        self.all_work = sum(work.values())

    def seconds(self) -> float:
        """Do all stages, and return when the last one ends."""
        waiting = list(self.stages)
        while waiting or self.queue or self.in_progress:
            while len(self.in_progress) < self.workers and self._begin(waiting):
                pass
            self.now, name = heapq.heappop(self.in_progress)
            self.remaining[name] -= 1
            if not self.remaining[name]:
                self.done.add(name)
        return self.now

    def _begin(self, waiting: list[Timed]) -> bool:
        """Begin the stage or part with the longest chain of work behind it."""
        ready = [stage for stage in waiting if self.done.issuperset(stage.needs)]
        stage = max(ready, key=lambda s: self.behind[s.id], default=None)
        part = max(self.queue, key=lambda p: self.behind[p[0]], default=None)
        if part and not (stage and self.behind[stage.id] > self.behind[part[0]]):
            self.queue.remove(part)
            heapq.heappush(self.in_progress, (self.now + part[1], part[0]))
        elif stage:
            waiting.remove(stage)
            parts = self._parts(stage, len(ready) + len(self.queue))
            self.remaining[stage.id] = parts
            self.queue += [(stage.id, stage.seconds / parts)] * parts
        return bool(part or stage)

    def _parts(self, stage: Timed, ready: int) -> int:
        idle = self.workers - len(self.in_progress)
        wanted = wanted_parts(stage.seconds, self.all_work, self.workers, idle, ready)
        return min(stage.parts, wanted) if stage.parts > 1 else 1
