"""Runs that are interrupted and resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import cut, flip, write
from tiny import FEW, TWO, assert_same_bits, changed, raw_recipe, rerun, results_of, tiny

from morex.artifacts.outcomes import Outcomes
from morex.recipe import parse_recipe
from morex.report import read_results
from morex.run import Event, Observer, Progressed, run
from morex.run.checkpoint import FileCheckpoint
from morex.training import NotFiniteError, Snapshot

pytestmark = pytest.mark.usefixtures("one_thread")


class InterruptionError(Exception):
    """An interruption."""


def stop_in(stage_id: str, share: float = 1e-9) -> Observer:
    """Return an observer that interrupts a run as soon as a stage has done a share of its work.

    A training reports about once a second, and at its end: only the end is at a known step.
    """

    def stop(event: Event) -> None:
        if isinstance(event, Progressed) and event.stage.id == stage_id and event.share >= share:
            raise InterruptionError

    return stop


def interrupted(out: Path, stage: str, share: float = 1e-9) -> Path:
    """Begin a run, interrupt it in a stage, and return the folder of the unfinished stage."""
    with pytest.raises(InterruptionError):
        run(tiny(*TWO), out, observer=stop_in(stage, share), checkpoint_every=0)
    (work,) = (out / "work").glob(f"{stage}-*")
    return work


def test_an_interrupted_training_resumes(finished: Path, tmp_path: Path) -> None:
    work = interrupted(tmp_path, "train-minf", share=1.0)
    saved = FileCheckpoint(work, 0, print).load()
    assert saved is not None
    assert saved.values["step"] == 6  # two epochs of three batches: only the end is left
    spy = rerun(tmp_path, raw_recipe(*TWO))
    assert spy.skipped == ["train-clean", "evaluate-clean"]
    assert spy.shares["train-minf"] == [1.0]  # it resumed at the end: no step was repeated
    assert_same_bits(tmp_path, finished)


def test_an_interrupted_evaluation_keeps_its_rows(finished: Path, tmp_path: Path) -> None:
    work = interrupted(tmp_path, "evaluate-minf")
    kept = Outcomes.load(work / "rows.npz").right
    assert {name: len(right) for name, right in kept.items()} == {"clean": 16}  # a batch of the 30
    spy = rerun(tmp_path, raw_recipe(*TWO))
    assert spy.shares["evaluate-minf"][:2] == pytest.approx([16 / 30 / 5, 1 / 5])  # resumes there
    assert_same_bits(tmp_path, finished)


@pytest.mark.parametrize(
    ("stage", "file", "again"),
    [
        ("train-minf", "checkpoint", "the stage starts again"),
        ("evaluate-minf", "rows.npz", "the evaluation starts again"),
    ],
)
@pytest.mark.parametrize("damage", [flip, cut, write(b"")], ids=["flip", "cut", "empty"])
def test_damaged_data_of_an_unfinished_stage_is_reported_and_the_stage_starts_again(
    stage: str,
    file: str,
    again: str,
    damage: Callable[[Path], None],
    finished: Path,
    tmp_path: Path,
) -> None:
    work = interrupted(tmp_path, stage)
    damage(work / file)
    spy = rerun(tmp_path, raw_recipe(*TWO))
    (notice,) = spy.notices
    assert str(work / file) in notice
    assert again in notice
    assert_same_bits(tmp_path, finished)


@pytest.mark.parametrize(
    "change", [{"step": 99}, {"training": {"kind": "TrainingConfig", "seed": 7}}]
)
def test_an_intact_checkpoint_of_another_training_is_reported_and_the_stage_starts_again(
    change: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    work = interrupted(tmp_path, "train-minf")
    kept = FileCheckpoint(work, 0, pytest.fail)
    saved = kept.load()
    assert saved is not None
    kept.save(Snapshot(saved.tensors, saved.values | change))
    (notice,) = rerun(tmp_path, raw_recipe(*TWO)).notices
    assert str(work / "checkpoint") in notice
    assert "the checkpoint is not of this training" in notice
    assert "the stage starts again" in notice
    assert_same_bits(tmp_path, finished)


def test_rows_that_are_longer_than_the_data_are_reported_and_the_evaluation_starts_again(
    finished: Path, tmp_path: Path
) -> None:
    work = interrupted(tmp_path, "evaluate-minf")
    Outcomes({"clean": np.ones(31, np.bool_)}).save(work / "rows.npz")
    (notice,) = rerun(tmp_path, raw_recipe(*TWO)).notices
    assert str(work / "rows.npz") in notice
    assert "has 31 examples of the row 'clean', which has 30" in notice
    assert "the evaluation starts again" in notice
    assert_same_bits(tmp_path, finished)


def test_data_of_an_unfinished_stage_is_not_used_for_another_recipe(tmp_path: Path) -> None:
    interrupted(tmp_path, "train-minf")
    raw = changed(raw_recipe(*TWO), "models.Minf.training", {"learning_rate": 0.04})
    rerun(tmp_path, raw)
    run(parse_recipe(raw), tmp_path / "fresh")
    fresh = results_of(tmp_path / "fresh")
    assert {name: results_of(tmp_path)[name] for name in fresh} == fresh


def test_a_finished_stage_removes_only_its_own_unfinished_data(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf")
    raw["models"]["Minf clean"] = raw["models"]["clean"]  # train-minf-clean begins with train-minf
    raw["columns"] = ["Minf clean", "Minf"]
    recipe = parse_recipe(raw)
    first = recipe.model_copy(update={"columns": ("Minf",)})
    with pytest.raises(InterruptionError):
        run(recipe, tmp_path, observer=stop_in("train-minf-clean"), checkpoint_every=0)
    with pytest.raises(InterruptionError):
        run(first, tmp_path, observer=stop_in("evaluate-minf"))
    assert [*(tmp_path / "work").glob("train-minf-clean-*/checkpoint")]
    assert not [*(tmp_path / "work").glob("train-minf-????????????????")]


def test_leftovers_of_killed_writes_are_removed(out: Path) -> None:
    torn = out / "models/clean/.model.safetensors.123.part"
    torn.write_bytes(b"half")
    rerun(out)
    assert not torn.exists()


def test_a_training_that_diverges_keeps_finished_stages_and_can_be_repaired(
    finished: Path, tmp_path: Path
) -> None:
    raw = changed(raw_recipe(*FEW), "models.Minf.training", {"learning_rate": 1e30})
    with pytest.raises(NotFiniteError, match=r"train-minf: not finite: .* learning rate"):
        run(parse_recipe(raw), tmp_path)
    results = read_results(tmp_path)
    assert [*results.outcomes] == ["clean"]
    assert results.file.missing == FEW[1:]
    assert rerun(tmp_path).skipped == ["train-clean", "evaluate-clean"]
    assert results_of(tmp_path) == results_of(finished)
