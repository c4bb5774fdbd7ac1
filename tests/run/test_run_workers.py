"""Stages in this process and in several processes."""

import json
import multiprocessing
from pathlib import Path

import pytest
import torch
from tiny import FEW, TWO, Spy, assert_same_bits, changed, raw_recipe, rerun, results_of, tiny

from morex.recipe import parse_recipe
from morex.run import Event, Progressed, RunError, Started, run
from morex.training import NotFiniteError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_stages_side_by_side_give_the_same_bits(finished: Path, tmp_path: Path) -> None:
    spy = Spy()
    recipe = parse_recipe(changed(raw_recipe(*FEW), "threads", 1))
    run(recipe, tmp_path, observer=spy, jobs=2)
    assert sorted(spy.done) == sorted(stage.id for stage in spy.stages)
    for stage in spy.stages:
        assert all(spy.done.index(need) < spy.done.index(stage.id) for need in stage.needs)
        assert spy.shares[stage.id][-1] == 1  # progress comes through
    assert results_of(tmp_path) == results_of(finished)
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert [*stages] == [stage.id for stage in spy.stages]  # in the order of the table
    again = Spy()
    run(recipe, tmp_path, observer=again, jobs=1)
    assert not again.done  # the number of jobs decides no result


def test_a_training_that_diverges_side_by_side_is_told_as_usual(tmp_path: Path) -> None:
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


def test_a_process_of_a_run_that_dies_ends_it_in_a_sentence(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ended unexpectedly \(exit code -9.* --jobs"):
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
