"""Names that a stranger chose: neither a terminal obeys them, nor is anything taken for markup."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from calling import FinishedRun, call
from tiny import raw_recipe

ODD = "\x1b[31m[/red][bold]:smile:\u202e"
SHOWN = r"\x1b[31m[/red][bold]:smile:\u202e"


def test_classes_of_a_model_are_shown_as_they_are(finished: FinishedRun, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "models/clean", tmp_path / "model")
    path = tmp_path / "model/model.json"
    described = json.loads(path.read_bytes())
    described["about"]["classes"] = [ODD] * 10
    path.write_text(json.dumps(described))
    from PIL import Image

    picture = tmp_path / "[bold] picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    code, out, err = call("predict", picture, "--model", tmp_path / "model")
    assert code == 0, err
    assert SHOWN in out
    assert "\x1b" not in out
    assert "[bold] picture.png" in out


def test_a_picture_with_an_odd_name_is_reported(finished: FinishedRun, tmp_path: Path) -> None:
    name = ODD.replace("/", "")
    (tmp_path / name).write_text("no picture")
    code, out, err = call("predict", tmp_path / name, "--model", finished.folder / "models/clean")
    assert code == 2
    assert SHOWN.replace("/", "") in err
    assert "\x1b" not in out + err


def test_results_of_a_stranger_are_shown_as_they_are(finished: FinishedRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    content = json.loads((run / "results.json").read_bytes())
    content["name"] = content["setting"]["data"] = ODD
    content["columns"] = {ODD: content["columns"]["clean"]}
    (run / "results.json").write_text(json.dumps(content))
    code, out, err = call("table", run)
    assert code == 0, err
    assert SHOWN in out
    assert "\x1b" not in out


@pytest.mark.parametrize("place", ["outcomes", "illustrations"])
def test_results_name_files_of_the_run_only(
    place: str, finished: FinishedRun, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    content = json.loads((run / "results.json").read_bytes())
    if place == "outcomes":
        content["columns"]["clean"]["outcomes"] = "../outside.npz"
    else:
        content["illustrations"]["clean"] = "/outside.npz"
    (run / "results.json").write_text(json.dumps(content))
    code, _, err = call("table", run)
    assert code == 2
    assert "one folder" in err


def test_a_recipe_with_odd_names_is_planned_and_run(tmp_path: Path) -> None:
    raw = raw_recipe("clean")
    raw["models"] = {f"a{ODD}": raw["models"]["clean"]}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(raw | {"columns": [f"a{ODD}"]}))
    code, out, err = call("plan", tmp_path / "odd.yaml", "training.epochs=1")
    assert code == 0, err
    code, out, err = call(
        "run", tmp_path / "odd.yaml", "training.epochs=1", "--out", tmp_path / "run", "--jobs", 1
    )
    assert code == 0, err
    assert "\x1b" not in out + err
