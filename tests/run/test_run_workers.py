"""Stages in this process and in several processes."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import yaml
from tiny import FEW, TWO, Spy, assert_same_bits, changed, raw_recipe, rerun, results_of, tiny

import morex
import morex.run.execute
from morex.recipe import parse_recipe
from morex.run import Event, Progressed, RunError, Stage, Started, run
from morex.run.stage_runner import Task
from morex.run.workers import Result, Workers
from morex.training import NotFiniteError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_stages_side_by_side_give_the_same_bits(finished: Path, tmp_path: Path) -> None:
    spy = Spy()
    recipe = parse_recipe(changed(raw_recipe(*FEW), "threads", 1))
    run(recipe, tmp_path, observer=spy, jobs=2)
    assert sorted(spy.done) == sorted(stage.id for stage in spy.stages)
    for stage in spy.stages:
        assert all(spy.done.index(need) < spy.done.index(stage.id) for need in stage.needs)
        assert spy.shares[stage.id][-1] == 1  # events arrive
    assert results_of(tmp_path) == results_of(finished)
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert [*stages] == [stage.id for stage in spy.stages]  # in the order of the table
    again = Spy()
    run(recipe, tmp_path, observer=again, jobs=1)
    assert not again.done  # the number of jobs does not decide results


class TwoInTurn(Workers):
    """Takes two stages at a time and does the first one in this process.

    ``begun`` has every stage that began, and which stages were finished at that moment.
    """

    count = 2

    def __init__(self, runner: Any, count: int) -> None:
        self.runner = runner
        self.queue: list[Task] = []
        self.finished: set[str] = set()
        self.begun: list[tuple[Stage, set[str]]] = []

    @property
    def busy(self) -> bool:
        return bool(self.queue)

    @property
    def free(self) -> bool:
        return len(self.queue) < 2

    def begin(self, task: Task) -> None:
        self.begun.append((task.stage, {*self.finished}))
        self.queue.append(task)

    def wait(self) -> list[Result]:
        task = self.queue.pop(0)
        self.finished.add(task.stage.id)
        return [(task.stage.id, self.runner.do(task))]

    def stop(self) -> None:
        pass


def test_several_workers_begin_with_the_longest_chain_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy, made = Spy(), list[TwoInTurn]()

    def workers(*arguments: Any) -> TwoInTurn:
        made.append(TwoInTurn(*arguments))
        return made[-1]

    monkeypatch.setattr(morex.run.execute, "InProcesses", workers)
    run(tiny(*FEW, "MAX"), tmp_path, observer=spy, jobs=2)

    def chain_work(stage: Stage) -> float:
        later = [chain_work(other) for other in spy.stages if stage.id in other.needs]
        return spy.work[stage.id] + max(later, default=0)

    waiting = [*spy.stages]
    for stage, finished in made[0].begun:
        ready = [other for other in waiting if finished.issuperset(other.needs)]
        assert chain_work(stage) == max(map(chain_work, ready))
        waiting.remove(stage)
    assert not waiting
    begun = [stage for stage, _ in made[0].begun]
    assert begun != spy.stages  # in the order of the table
    assert begun != sorted(spy.stages, key=lambda stage: -spy.work[stage.id])


def test_a_single_worker_keeps_to_the_order_of_the_table(whole: tuple[Path, Spy]) -> None:
    _, spy = whole
    assert spy.started == [stage.id for stage in spy.stages]


def test_a_training_that_diverges_in_another_process_raises_the_same_error(tmp_path: Path) -> None:
    raw = changed(raw_recipe(*TWO), "models.Minf.training", {"learning_rate": 1e30})
    before = multiprocessing.active_children()
    with pytest.raises(NotFiniteError, match=r"train-minf: not finite: .* learning rate"):
        run(parse_recipe(raw), tmp_path, jobs=2)
    assert multiprocessing.active_children() == before


def kill_processes(event: Event) -> None:
    """Kill the processes of a run at its first progress."""
    if isinstance(event, Progressed):
        for process in multiprocessing.active_children():
            process.kill()


def test_a_run_ends_with_a_clear_error_if_one_of_its_processes_dies(
    finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"^train-\w+: its process was killed by SIGKILL"):
        run(tiny(*TWO), tmp_path, observer=kill_processes, jobs=2)
    rerun(tmp_path, raw_recipe(*TWO))
    assert_same_bits(tmp_path, finished)


def test_there_is_at_least_one_job(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        run(tiny("clean"), tmp_path, jobs=0)


def test_a_run_sets_its_threads_and_gives_them_back(tmp_path: Path) -> None:
    seen = []

    def look(event: Event) -> None:
        if isinstance(event, Started):
            seen.append(torch.get_num_threads())

    run(parse_recipe(changed(raw_recipe("clean"), "threads", 2)), tmp_path, observer=look, jobs=1)
    assert seen == [2, 2]
    assert torch.get_num_threads() == 1


def test_a_checkout_that_is_not_installed_runs(tmp_path: Path) -> None:
    """As on a machine without registries, where only the folder is put on Python's path."""
    hide = """
        from importlib.metadata import Distribution, PackageNotFoundError
        found = Distribution.from_name
        def hidden(name):
            if name == "morex":
                raise PackageNotFoundError(name)
            return found(name)
        Distribution.from_name = hidden
    """
    (tmp_path / "sitecustomize.py").write_text(dedent(hide))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw_recipe("clean", "Mfog")))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "morex.cli", "run", "recipe.yaml", "--out", "run"]
    done = subprocess.run(
        [*command, "--jobs", "2"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    versions = json.loads((tmp_path / "run/results.json").read_text())["provenance"]["versions"]
    assert versions["morex"] == morex.__version__
