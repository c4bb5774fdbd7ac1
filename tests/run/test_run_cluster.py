"""Runs on machines that may fail, with a pool that stands for them and works in this process."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CPU, Spy, changed, raw_recipe, results_of, tiny

import morex.run.execute
from morex.core.threads import threads
from morex.recipe import Recipe, parse_recipe
from morex.run import Builder, RunError, default_jobs, ignore, run
from morex.run.cluster import MOST_DEATHS, Died, InPool, Pool, Ready, Said
from morex.run.cores import visible_gpus
from morex.run.directory import RunDirectory
from morex.run.failures import Failure
from morex.run.needs import Needs, needs_of
from morex.run.processes import InProcesses
from morex.run.stage_process import Done
from morex.run.stage_runner import StageRunner, Task

pytestmark = pytest.mark.usefixtures("one_thread")

Fate = Callable[[int, Task], bool]
"""Says whether a worker dies in a stage, given its number."""


class Here(Pool):
    """Workers that do their stages in this process, one message after the other.

    Args:
        runner: does the stages.
        dies: whether a worker dies in a stage, after it has reported some progress.
        places: how many workers get a place; the others wait for ever.
    """

    def __init__(self, runner: StageRunner | None, dies: Fate, places: int = 99) -> None:
        self.runner, self.dies, self.places = runner, dies, places
        self.said: deque[tuple[int, Said]] = deque()
        self.started, self.begun, self.stopped = 0, list[tuple[int, Task]](), list[Any]()

    def start(self) -> int:
        self.started += 1
        if self.started <= self.places:
            self.said.append((self.started, Ready("here")))
        return self.started

    def send(self, worker: Any, task: Task) -> None:
        self.begun.append((worker, task))
        if self.dies(worker, task):
            self.said.append((worker, Died("its machine burnt down")))
        elif self.runner:
            self.runner.observer = lambda event: self.said.append((worker, event))
            record = self.runner.do(task)
            self.said.append((worker, Done(task.stage.id, record)))

    def messages(self) -> Iterator[tuple[int, Said]]:
        if not self.said:
            raise RunError("nobody will ever say anything")
        yield self.said.popleft()

    def stop(self, working: Any) -> None:
        self.stopped += working


def never(worker: int, task: Task) -> bool:
    return False


def recipe() -> Recipe:
    return parse_recipe(changed(raw_recipe("clean", "Minf"), "evaluation.batch_size", 4))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of the recipe without a cluster."""
    out = tmp_path_factory.mktemp("here") / "run"
    with threads(1):
        run(recipe(), out, jobs=1)
    return results_of(out)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fate, int], list[Here]]:
    """Let runs with ``ray`` use three workers that stand for those of a cluster."""
    made = list[Here]()

    def use(dies: Fate, places: int = 99) -> list[Here]:
        def on(runner: StageRunner, address: str, jobs: int | None) -> InPool:
            own = StageRunner(runner.builder, runner.directory, ignore, 30.0)
            made.append(Here(own, dies, places))
            return InPool(made[-1], runner.observer, 3)

        monkeypatch.setattr(morex.run.execute, "on_ray", on)
        monkeypatch.setattr(morex.run.parts, "_PASSES", 0.1)
        return made

    return use


def first_time(*kinds: str) -> Fate:
    """Workers die once in each kind of stage, and in each part."""
    seen = set[object]()

    def dies(worker: int, task: Task) -> bool:
        first = (task.stage.kind, task.part) not in seen
        seen.add((task.stage.kind, task.part))
        return first and task.stage.kind in kinds

    return dies


def test_workers_that_die_change_no_bit(
    tmp_path: Path, pools: Any, expected: dict[str, bytes]
) -> None:
    made, spy = pools(first_time("train", "evaluate")), Spy()
    run(recipe(), tmp_path, ray="fake", observer=spy)
    assert results_of(tmp_path) == expected
    assert sorted(spy.done) == sorted(stage.id for stage in spy.stages)
    deaths = [n for n in spy.notices if "burnt down; another worker goes on with it" in n]
    assert len(deaths) == made[0].started - 3 > 2
    assert any(re.match(r"evaluate-\w+, part \dof\d: ", n) for n in deaths)


def test_workers_without_a_place_hold_up_nothing(
    tmp_path: Path, pools: Any, expected: dict[str, bytes]
) -> None:
    made = pools(never, 1)
    run(recipe(), tmp_path, ray="fake")
    assert results_of(tmp_path) == expected
    assert {worker for worker, _ in made[0].begun} == {1}
    assert made[0].started == 3


def tasks(count: int = 4) -> list[Task]:
    stages = Builder.open(tiny("clean", "Minf"), CPU).stages
    return [Task(stage, "key", {}) for stage in stages.values()][:count]


def test_the_stage_of_a_worker_that_died_begins_next() -> None:
    first, second, third, _ = tasks()
    pool = Here(None, lambda worker, task: worker == 1)
    workers = InPool(pool, ignore, 2)
    workers.begin(first)
    workers.begin(second)
    assert not workers.free
    workers.queue.append(third)  # as if more had begun
    for _ in range(4):  # two places, a death, and the place of its successor
        for worker, said in pool.messages():
            workers._take(worker, said)
        workers._hand_out()
    assert [task.stage.id for _, task in pool.begun] == [t.stage.id for t in (first, second, first)]
    workers.stop()
    assert len(pool.stopped) == 2


def test_a_stage_that_ends_worker_after_worker_ends_the_run() -> None:
    pool = Here(None, lambda worker, task: True)
    workers = InPool(pool, ignore, 2)
    workers.begin(tasks()[0])
    with pytest.raises(RunError, match=r"train-clean: 5 workers ended in it; .* burnt down"):
        workers.wait()
    assert len(pool.begun) == MOST_DEATHS == 5


def test_workers_that_never_start_end_the_run() -> None:
    pool = Here(None, never, places=0)
    pool.said.extend((n, Died("there is no Python")) for n in range(MOST_DEATHS))
    workers = InPool(pool, ignore, 2)
    workers.begin(tasks()[0])
    with pytest.raises(RunError, match=r"5 workers ended before they had a stage; .* no Python"):
        workers.wait()


def test_what_fails_in_a_worker_is_one_sentence() -> None:
    pool, task = Here(None, never), tasks()[0]
    workers = InPool(pool, ignore, 1)
    workers.begin(task)
    pool.said.append((1, Failure.of("", UnpicklableError())))
    with pytest.raises(
        RunError, match=r"train-clean failed: UnpicklableError: it holds a lock \(trace"
    ):
        workers.wait()


class UnpicklableError(Exception):
    def __str__(self) -> str:
        return "it holds a lock"

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle")


def test_two_runs_of_a_process_have_different_marks(tmp_path: Path) -> None:
    marks = set[bytes]()
    for _ in range(2):  # a worker left over from the first one ends by this
        with RunDirectory(tmp_path).locked():
            marks.add(RunDirectory(tmp_path).mark())
    assert len(marks) == 2


# --- resources ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "room"),
    [
        (Needs(1, 0, 10**9), 8 + 5),  # the second machine has memory for five
        (Needs(3, 0, 10**9), 2 + 1),
        (Needs(1, 1, 10**9), 4),
        (Needs(1, 1 / 3, 10**8), 8),  # as many as it has CPUs
        (Needs(1, 0.5, 10**9), 8),
        (Needs(16, 0, 10**9), 0),
        (Needs(1, 0, 10**12), 0),
    ],
)
def test_the_room_of_a_cluster(needs: Needs, room: int) -> None:
    nodes = [{"CPU": 8.0, "GPU": 4.0, "memory": 64e9}, {"CPU": 5.0, "memory": 5.5e9}]
    assert needs.room(nodes) == room


def test_what_a_worker_needs() -> None:
    builder = Builder.open(parse_recipe(changed(raw_recipe("clean"), "threads", 3)), CPU)
    nodes = [{"CPU": 8.0, "GPU": 4.0}]
    small = needs_of(builder, None, nodes)
    assert (small.cpus, small.gpus) == (3, 0)
    wide = changed(raw_recipe("clean"), "network.width", 64)
    assert needs_of(Builder.open(parse_recipe(wide), CPU), None, nodes).memory > small.memory + 5e7
    object.__setattr__(builder, "device", torch.device("cuda"))
    shares = [needs_of(builder, jobs, nodes).gpus for jobs in (None, 2, 4, 8, 9)]
    assert shares == [1, 1, 1, 1 / 2, 1 / 3]


@pytest.mark.parametrize(
    ("count", "visible", "device", "gpus"),
    [
        (4, None, "cuda", ["0", "1", "2", "3"]),
        (2, "5,GPU-abc", "cuda", ["5", "GPU-abc"]),
        (1, None, "cuda", []),
        (4, None, "cuda:1", []),
        (0, None, "cpu", []),
    ],
)
def test_the_gpus_of_a_machine(
    count: int,
    visible: str | None,
    device: str,
    gpus: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus(torch.device(device)) == gpus
    if device != "cpu":
        assert default_jobs(tiny("clean"), torch.device(device)) == max(1, len(gpus))


class Process:
    """Stands for a process, and for its connection."""

    alive = True

    def is_alive(self) -> bool:
        return self.alive


def test_processes_share_the_gpus_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = StageRunner.open(tiny("clean"), tmp_path, CPU, ignore, 30.0)
    workers = InProcesses(runner, 5)
    assert workers._gpu_for_another() is None
    workers.gpus = ["0", "1", "7"]
    given, processes = [], [Process() for _ in range(5)]
    for process in processes:
        given.append(workers._gpu_for_another())
        workers.processes[process] = process  # type: ignore[index, assignment]
        workers.gpu_of[process] = given[-1]  # type: ignore[index]
    assert given == ["0", "1", "7", "0", "1"]
    processes[2].alive = False  # the only one on its GPU
    assert workers._gpu_for_another() == "7"
