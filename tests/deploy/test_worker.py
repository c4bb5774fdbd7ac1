"""The thread that does together what waits together."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError

import pytest

from morex.deploy.worker import Worker


class Gated:
    """Work that waits to be let go, and remembers its batches."""

    def __init__(self) -> None:
        self.go, self.entered = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, jobs: Sequence[int]) -> list[int]:
        self.batches.append([*jobs])
        self.entered.set()
        assert self.go.wait(20)
        if any(job < 0 for job in jobs):
            raise ValueError("negative")
        return [10 * job for job in jobs]


def test_what_waits_is_done_together_up_to_a_limit_and_in_order() -> None:
    work = Gated()
    worker = Worker("test", work, most=3)
    first = worker.ask(0)
    assert work.entered.wait(20)
    others = [worker.ask(job) for job in range(1, 6)]
    assert worker.waiting == 5
    work.go.set()
    assert [answer.result(20) for answer in (first, *others)] == [0, 10, 20, 30, 40, 50]
    assert work.batches == [[0], [1, 2, 3], [4, 5]]
    worker.close()


def test_only_jobs_of_one_kind_are_done_together() -> None:
    work = Gated()
    worker = Worker("test", work, most=9, kind=lambda job: job % 2)
    worker.ask(0)
    assert work.entered.wait(20)
    answers = [worker.ask(job) for job in (1, 3, 4, 6, 5)]
    work.go.set()
    assert [answer.result(20) for answer in answers] == [10, 30, 40, 60, 50]
    assert work.batches == [[0], [1, 3], [4, 6], [5]]
    worker.close()


def test_a_bad_job_fails_alone() -> None:
    work = Gated()
    worker = Worker("test", work, most=9)
    worker.ask(0)
    assert work.entered.wait(20)
    good, bad, also_good = (worker.ask(job) for job in (1, -1, 2))
    work.go.set()
    assert (good.result(20), also_good.result(20)) == (10, 20)
    with pytest.raises(ValueError, match="negative"):
        bad.result(20)
    worker.close()


def test_a_job_that_nobody_waits_for_is_left_out() -> None:
    work = Gated()
    worker = Worker("test", work, most=9)
    worker.ask(0)
    assert work.entered.wait(20)
    dropped, kept = worker.ask(1), worker.ask(2)
    assert dropped.cancel()
    work.go.set()
    assert kept.result(20) == 20
    assert work.batches == [[0], [2]]
    worker.close()


def test_closing_answers_what_waits() -> None:
    work = Gated()
    worker = Worker("test", work)
    answers = [worker.ask(job) for job in range(4)]
    work.go.set()
    worker.close()
    assert [answer.result(0) for answer in answers] == [0, 10, 20, 30]
    with pytest.raises(RuntimeError, match="closed"):
        worker.ask(5)


def test_closing_can_drop_what_waits() -> None:
    work = Gated()
    worker = Worker("test", work)
    first = worker.ask(1)
    assert work.entered.wait(20)
    waiting = worker.ask(2)
    closing = threading.Thread(target=worker.close, kwargs={"drop": True})
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(20)
    work.go.set()
    closing.join(20)
    assert first.result(0) == 10
    assert work.batches == [[1]]
