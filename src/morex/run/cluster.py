"""Stages on machines that may fail: a worker that dies is replaced, and its stage goes on."""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from morex.run.directory import RunError
from morex.run.events import Event, Noticed, Observer
from morex.run.failures import Failure, StageError
from morex.run.stage_process import Done
from morex.run.stage_runner import Task
from morex.run.workers import Result, Workers

MOST_DEATHS = 5
"""A stage that has lost this many workers ends the run; so do as many workers that never start."""


@dataclass(frozen=True)
class Ready:
    """A worker has a place, and takes stages."""

    host: str


@dataclass(frozen=True)
class Died:
    """A worker has ended, and will send nothing more."""

    reason: str


Worker = Hashable
"""What a pool knows a worker by."""

Said = Ready | Died | Done | Failure | Event
"""What a worker sends."""


class Pool(ABC):
    """Starts workers somewhere, brings them stages, and listens to them."""

    @abstractmethod
    def start(self) -> Worker:
        """Ask for another worker, which sends ``Ready`` when it has a place."""

    @abstractmethod
    def send(self, worker: Worker, task: Task) -> None:
        """Give a worker a stage. One that is dead is heard to have died."""

    @abstractmethod
    def messages(self) -> Iterable[tuple[Worker, Said]]:
        """Wait for messages, for a second at most, and return them.

        Raises:
            RunError: if the whole pool is gone.
        """

    @abstractmethod
    def stop(self, working: Iterable[Worker]) -> None:
        """End all workers; those that are working may first keep what they have."""


class InPool(Workers):
    """Does several stages at a time with the workers of a pool.

    A stage waits until a worker has a place, so a worker that never gets one holds up nothing. The
    stage of a worker that died is the next to begin, and goes on from its checkpoint.
    """

    most_deaths: ClassVar[int] = MOST_DEATHS

    def __init__(self, pool: Pool, observer: Observer, count: int) -> None:
        self.pool, self.observer, self.count = pool, observer, count
        self.queue: deque[Task] = deque()
        self.starting: set[Worker] = set()
        self.idle: list[Worker] = []
        self.working: dict[Worker, Task] = {}
        self.deaths: Counter[str] = Counter()

    @property
    def busy(self) -> bool:
        """Whether any stage is not finished."""
        return bool(self.queue or self.working)

    @property
    def free(self) -> bool:
        """Whether another stage would find a worker."""
        return len(self.queue) + len(self.working) < self.count

    def begin(self, task: Task) -> None:
        """Give a stage to an idle worker, or to the next one that has a place."""
        self.queue.append(task)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give the stages that wait to idle workers; ask for more workers if there are too few."""
        while self.queue and self.idle:
            worker, task = self.idle.pop(), self.queue.popleft()
            self.working[worker] = task
            self.pool.send(worker, task)
        while len(self.starting) < len(self.queue) and self._alive < self.count:
            self.starting.add(self.pool.start())

    @property
    def _alive(self) -> int:
        return len(self.starting) + len(self.idle) + len(self.working)

    def wait(self) -> list[Result]:
        """Hand the events of all workers to the observer until one has finished its stage."""
        results: list[Result] = []
        while self.busy and not results:
            for worker, said in self.pool.messages():
                results += self._take(worker, said)
            self._hand_out()
        return results

    def _take(self, worker: Worker, said: Said) -> list[Result]:
        """Take one message of a worker; return the stage that it has finished, if any."""
        match said:
            case Ready():
                self.starting.discard(worker)
                self.idle.append(worker)
            case Died(reason):
                self._replace(worker, reason)
            case Failure():
                task = self.working.get(worker)
                raise (said.of_stage(task.stage.id) if task else said).error()
            case Done(stage_id, record):
                del self.working[worker]
                self.idle.append(worker)
                return [(stage_id, record)]
            case event:
                self.observer(event)
        return []

    def _replace(self, worker: Worker, reason: str) -> None:
        """Forget a worker that died; its stage is the next one to begin."""
        self.starting.discard(worker)
        self.idle = [other for other in self.idle if other != worker]
        task = self.working.pop(worker, None)
        name = _name(task) if task else "a worker without a stage"
        self.deaths[name] += 1
        if self.deaths[name] >= self.most_deaths:
            times = f"{self.deaths[name]} workers ended"
            if task is None:
                raise RunError(f"{times} before they had a stage; the last one: {reason}")
            raise StageError(f"{name}: {times} in it; the last one: {reason}")
        if task:
            self.queue.appendleft(task)
            self.observer(Noticed(f"{name}: {reason}; another worker goes on with it"))

    def stop(self) -> None:
        """End all workers; those with a stage may first keep what they have."""
        self.pool.stop([*self.working])


def _name(task: Task) -> str:
    return f"{task.stage.id}, part {task.part}" if task.part else task.stage.id
