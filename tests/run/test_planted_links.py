"""Symbolic links that somebody planted lead no write outside."""

import os
from pathlib import Path

import pytest
from tiny import raw_recipe

from morex.artifacts.records import StageRecord
from morex.core.files import write_atomically
from morex.recipe import RecipeError, parse_recipe
from morex.run import RunError
from morex.run.directory import RunDirectory


def test_a_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    outside, path = tmp_path / "outside", tmp_path / "file"
    outside.write_text("mine")
    path.symlink_to(outside)
    (tmp_path / f".file.{os.getpid()}.part").symlink_to(outside)
    write_atomically(path, b"new")
    assert outside.read_text() == "mine"
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "outside"]


@pytest.mark.parametrize("name", [".lock", "models", "outcomes", "work", "stages", "models/clean"])
def test_a_run_with_a_link_for_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    with RunDirectory(run).locked():
        pass
    (run / ".lock").unlink(missing_ok=True)
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(outside / "mine" if name == ".lock" else outside)
    with pytest.raises(RunError, match=f"{name} is a symbolic link"), RunDirectory(run).locked():
        pass
    assert (outside / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "../../x", "a/b", "/x", "a\\b", "a\nb", "x" * 121])
def test_a_recipes_name_is_the_name_of_one_folder(name: str) -> None:
    with pytest.raises(RecipeError, match=r"name: .*expected"):
        parse_recipe(raw_recipe("clean") | {"name": name})


def test_a_models_name_fits_a_file_name() -> None:
    raw = raw_recipe("clean")
    raw["models"] = {"m" * 121: raw["models"]["clean"]}
    with pytest.raises(RecipeError, match="more than 120 bytes"):
        parse_recipe(raw | {"columns": ["m" * 121]})


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", ""])
def test_the_record_of_a_stage_names_files_of_the_run_only(path: str, tmp_path: Path) -> None:
    record = {"stage": "s", "key": "k", "files": {path: "0"}, "seconds": 1, "finished": ""}
    with pytest.raises(ValueError, match="one folder"):
        StageRecord.model_validate(record | {"provenance": {}})
    StageRecord.model_validate(record | {"provenance": {}, "files": {"models/a/b": "0"}})
