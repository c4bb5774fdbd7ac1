"""One thread that does the work of many callers, and does together what waits together.

Nothing is delayed: the thread takes what is there. While it works, more arrives, so batches grow
with the load.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Asked(Generic[Job, Answer]):
    """A job, and where its answer goes."""

    job: Job
    answer: "Future[Answer]" = field(default_factory=Future)


def _alike(job: object) -> Hashable:
    return None


class Worker(Generic[Job, Answer]):
    """A thread that answers jobs in the order in which they arrive.

    Args:
        name: of the thread.
        work: returns the answers to some jobs, in their order.
        most: how many jobs are done together at most.
        kind: jobs are done together only if this returns the same for all of them.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Job]], Sequence[Answer]],
        most: int = 1,
        kind: Callable[[Job], Hashable] = _alike,
    ) -> None:
        self._work, self._most, self._kind = work, most, kind
        self._waiting: deque[_Asked[Job, Answer]] = deque()
        self._changed = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait; those in progress are not counted."""
        return len(self._waiting)

    def ask(self, job: Job) -> "Future[Answer]":
        """Add a job and return its future answer. If the work fails, the answer is its error.

        Raises:
            RuntimeError: if the worker is closed.
        """
        asked: _Asked[Job, Answer] = _Asked(job)
        with self._changed:
            if self._ends:
                raise RuntimeError("this worker is closed")
            self._waiting.append(asked)
            self._changed.notify()
        return asked.answer

    def close(self, *, drop: bool = False) -> None:
        """Answer what waits, and end the thread; with ``drop``, cancel what waits instead."""
        with self._changed:
            self._ends = True
            while drop and self._waiting:
                self._waiting.popleft().answer.cancel()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[_Asked[Job, Answer]]:
        """Wait for jobs and return those to do together; none if the worker ends."""
        with self._changed:
            while not self._waiting and not self._ends:
                self._changed.wait()
            batch: list[_Asked[Job, Answer]] = []
            while self._waiting and len(batch) < self._most and self._fits(batch):
                batch.append(self._waiting.popleft())
            return batch

    def _fits(self, batch: Sequence[_Asked[Job, Answer]]) -> bool:
        return not batch or self._kind(batch[0].job) == self._kind(self._waiting[0].job)

    def _answer(self, batch: Sequence[_Asked[Job, Answer]]) -> None:
        """Do a batch; if that fails, do its jobs one by one, so that a bad one fails alone."""
        wanted = [asked for asked in batch if asked.answer.set_running_or_notify_cancel()]
        try:
            answers = self._work([asked.job for asked in wanted]) if wanted else ()
        except Exception as error:
            for asked in wanted:
                self._answer_alone(asked, error if len(wanted) == 1 else None)
        else:
            for asked, answer in zip(wanted, answers, strict=True):
                asked.answer.set_result(answer)

    def _answer_alone(self, asked: _Asked[Job, Answer], error: Exception | None) -> None:
        try:
            if error:
                raise error
            (answer,) = self._work([asked.job])
        except Exception as failure:
            asked.answer.set_exception(failure)
        else:
            asked.answer.set_result(answer)
