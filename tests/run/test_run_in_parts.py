"""Runs whose evaluations are cut into parts for several workers."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tiny import Spy, changed, raw_recipe, results_of, tiny

import morex.run.execute
from morex.core.threads import threads
from morex.recipe import Recipe, parse_recipe
from morex.run import Finished, Progressed, run
from morex.run.parts import wanted_parts
from morex.run.stage_runner import Task
from morex.run.workers import InThisProcess, Result

pytestmark = pytest.mark.usefixtures("one_thread")


class LastFirst(InThisProcess):
    """Pretends to be several workers; what began last is done first, in this process.

    Some of the parts are interrupted: they are done only in part, and then not at all.
    """

    count = 4
    interrupted = 0

    def __init__(self, runner: Any, count: int) -> None:
        super().__init__(runner)
        self.tasks, self.done, self.cut = list[Task](), list[Task](), 0

    @property
    def busy(self) -> bool:
        return bool(self.tasks)

    @property
    def free(self) -> bool:
        return len(self.tasks) < self.count

    def begin(self, task: Task) -> None:
        self.tasks.append(task)

    def wait(self) -> list[Result]:
        self.next = task = self.tasks.pop()
        self.done.append(task)
        if task.part and self.cut < self.interrupted:
            self.cut += 1
            with cut_short():
                self.runner.do(task)
        return super().wait()


@contextmanager
def cut_short() -> Iterator[None]:
    """Interrupt a part after its first batch, which it has then written."""
    with pytest.MonkeyPatch.context() as patch, suppress(InterruptedError):
        patch.setattr(morex.run.parts, "stop_if_asked", _interrupt)
        patch.setattr(morex.run.parts, "asked_to_stop", lambda: True)
        yield
        raise AssertionError("the part was not interrupted")


def _interrupt() -> None:
    raise InterruptedError


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[LastFirst]:
    """Let runs use the pretended workers, and cut evaluations however short they are."""
    made = list[LastFirst]()

    def make(*arguments: Any) -> LastFirst:
        made.append(LastFirst(*arguments))
        return made[-1]

    monkeypatch.setattr(morex.run.execute, "InProcesses", make)
    monkeypatch.setattr(morex.run.parts, "_PASSES", 0.1)
    return made


def small_batches() -> Recipe:
    return parse_recipe(changed(raw_recipe("clean"), "evaluation.batch_size", 4))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("without") / "parts"
    with threads(1):
        run(small_batches(), out, jobs=1)
    return results_of(out)


@pytest.mark.parametrize("interrupted", [0, 2])
def test_parts_of_evaluations_change_no_bit(
    tmp_path: Path,
    workers: list[LastFirst],
    expected: dict[str, bytes],
    interrupted: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LastFirst, "interrupted", interrupted)
    spy, shares = Spy(), list[tuple[str, float]]()

    def observer(event: Any) -> None:
        spy(event)
        if isinstance(event, Progressed):
            shares.append((event.stage.id, event.share))

    run(small_batches(), tmp_path / "parts", jobs=4, observer=observer)
    parts = [task for task in workers[0].done if task.part]
    assert len(parts) == 4
    assert workers[0].cut == interrupted
    assert results_of(tmp_path / "parts") == expected
    assert sorted(spy.done) == sorted(stage.id for stage in spy.stages)  # each of them once
    assert len(spy.started) == len(spy.stages)
    for stage in spy.stages:
        its = [share for name, share in shares if name == stage.id]
        assert its == sorted(its) or interrupted
        assert its[-1] == 1
    assert not (tmp_path / "parts" / "work").exists()


def test_a_run_that_was_stopped_in_parts_goes_on_as_a_whole(
    tmp_path: Path, workers: list[LastFirst], expected: dict[str, bytes]
) -> None:
    def stop(event: Any) -> None:
        if isinstance(event, Progressed) and event.text == "in 4 parts":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small_batches(), tmp_path / "stopped", jobs=4, observer=stop, checkpoint_every=0)
    assert [*(tmp_path / "stopped" / "work").glob("evaluate-*/part-*of4.npz")]
    run(small_batches(), tmp_path / "stopped", jobs=1)
    assert results_of(tmp_path / "stopped") == expected


def test_a_damaged_part_is_done_again(
    tmp_path: Path, workers: list[LastFirst], expected: dict[str, bytes]
) -> None:
    spy = Spy()

    def damage(event: Any) -> None:
        spy(event)
        for path in tmp_path.glob("parts/work/evaluate-*/part-3of4.npz"):
            if isinstance(event, Progressed):
                path.write_bytes(b"damaged")

    run(small_batches(), tmp_path / "parts", jobs=4, observer=damage)
    assert any("the part starts again" in notice for notice in spy.notices)
    assert results_of(tmp_path / "parts") == expected


def test_the_seconds_of_an_evaluation_include_its_parts(
    tmp_path: Path, workers: list[LastFirst], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(morex.run.stage_evaluation, "saved_parts", _slow)
    seconds = {}

    def observer(event: Any) -> None:
        if isinstance(event, Finished):
            seconds[event.stage.id] = event.seconds

    run(small_batches(), tmp_path, jobs=4, observer=observer)
    assert min(s for name, s in seconds.items() if name.startswith("evaluate")) > 1000


def _slow(*arguments: Any) -> Any:
    found = morex.run.parts.saved_parts(*arguments)
    for pieces in found.values():
        pieces.seconds += 1000
    return found


@pytest.mark.parametrize(
    ("work", "workers", "idle", "ready", "parts"),
    [
        (1.0, 1, 1, 1, 1),  # a single worker takes stages whole
        (1.0, 8, 8, 8, 1),  # a short evaluation while all have work
        (10.0, 8, 4, 9, 2),  # 10% of the work, where a worker has 12.5% of it
        (90.0, 8, 8, 1, 8),  # most of the work
        (1.0, 8, 6, 2, 3),  # at the end, idle workers share what remains
        (1.0, 8, 0, 1, 1),
    ],
)
def test_the_number_of_parts(work: float, workers: int, idle: int, ready: int, parts: int) -> None:
    assert wanted_parts(work, 100.0, workers, idle, ready) == parts


def test_the_tiny_evaluations_are_too_short_for_parts(
    tmp_path: Path, workers: list[LastFirst], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(morex.run.parts, "_PASSES", 20)
    run(tiny("clean"), tmp_path, jobs=4)
    assert not [task for task in workers[0].done if task.part]
