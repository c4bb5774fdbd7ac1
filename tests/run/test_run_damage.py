"""Damaged files of a finished run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import cut, flip, write
from tiny import FEW, rerun, results_of, tiny

from morex.recipe import load_recipe
from morex.report import make_table, read_results

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flip", "cut", "unlink"])
@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("models/mfog/model.safetensors", "train-mfog"),
        ("models/mfog/model.json", "train-mfog"),
        ("models/more/gate/model.safetensors", "gate-more"),
        ("outcomes/more.npz", "evaluate-more"),
    ],
)
def test_a_damaged_file_is_named_and_its_stage_redone(
    damage: Callable[[Path], None], file: str, stage: str, out: Path
) -> None:
    before = results_of(out)
    damage(out / file)
    spy = rerun(out)
    assert spy.done == [stage]  # what depends on it finds the same bits again
    (notice,) = spy.notices
    assert str(out / file) in notice
    assert stage in notice
    assert ("missing" if damage is Path.unlink else "damaged") in notice
    assert results_of(out) == before
    assert not rerun(out).done


def edit_seconds(path: Path) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"seconds": 0.0}))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        edit_seconds,
        write(b""),
        write(b"[]"),
        write(b"null"),
        write(b"{}"),
        write(b"\xff"),
        write(b"[" * 100_000),
    ],
)
def test_a_damaged_record_is_named_and_its_stage_redone(
    damage: Callable[[Path], None], out: Path
) -> None:
    before = results_of(out)
    record = out / "stages/evaluate-mfog.json"
    damage(record)
    spy = rerun(out)
    assert spy.done == ["evaluate-mfog"]
    (notice,) = spy.notices
    assert f"{record} is damaged" in notice
    assert results_of(out) == before


def test_a_lost_record_redoes_its_stage(out: Path) -> None:
    (out / "stages/train-clean.json").unlink()
    assert rerun(out).done == ["train-clean"]


@pytest.mark.parametrize("name", ["results.json", "recipe.yaml"])
def test_lost_summaries_are_written_again(name: str, out: Path) -> None:
    (out / name).write_bytes(b"\xff")
    assert not rerun(out).done
    assert make_table(read_results(out)).columns == FEW
    assert load_recipe(str(out / "recipe.yaml")) == tiny(*FEW)
