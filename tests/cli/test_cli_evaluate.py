"""``morex evaluate``."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from calling import FinishedRun, call
from PIL import Image
from tiny import raw_recipe

import morex.run
import morex.run.partial_results
from morex.artifacts.outcomes import Outcomes
from morex.recipe import load_recipe


def test_evaluate_repeats_the_runs_figures(finished: FinishedRun, tmp_path: Path) -> None:
    folder = finished.folder
    code, out, err = call("evaluate", folder / "models/more", "--out", tmp_path / "again.npz")
    assert code == 0, err
    again = Outcomes.load(tmp_path / "again.npz").right
    for row, right in Outcomes.load(folder / "outcomes/more.npz").right.items():
        np.testing.assert_array_equal(right, again[row])
    assert "union" in out
    few = ("--examples", 7, "--seed", 3, "--out", tmp_path / "few.npz")
    said = call("evaluate", folder / "models/clean", *few)[1]
    assert "n 7" in said
    assert "7 test images of digits, seed 3," in said
    assert json.loads((tmp_path / "few.json").read_text())["seed"] == 3


def test_models_of_a_set_are_evaluated_as_the_set_says(
    finished: FinishedRun, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder / "models/clean", tmp_path / "clean")
    recipe = load_recipe(str(finished.folder / "recipe.yaml")).of_evaluation()
    recipe["evaluation"]["rows"] = {"clean": recipe["evaluation"]["rows"]["clean"]}
    about = {"description": "one", "default": "clean", "recipe": recipe}
    (tmp_path / "set.json").write_text(json.dumps(about))
    code, out, err = call("evaluate", tmp_path / "clean")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["clean", "union", "mean"]


def test_evaluate_with_another_recipe(finished: FinishedRun, tmp_path: Path) -> None:
    raw = raw_recipe("clean")
    raw["evaluation"]["rows"] = {"only": {"attack": "draws", "perturbation": "clean"}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(raw))
    model = finished.folder / "models/clean"
    code, out, _ = call("evaluate", model, "--recipe", tmp_path / "other.yaml")
    assert code == 0
    assert "only" in out
    assert "pgd" not in out


def test_a_suite_may_attack_at_strengths_that_the_model_does_not_know(
    finished: FinishedRun, tmp_path: Path
) -> None:
    ball = {"linf": {"kind": "linf", "eps": 0.011}}
    rows = {"one-*": {"attack": "pgd", "over": "linf", "steps": 1}}
    suite = {"name": "mine", "perturbations": ball, "rows": rows}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(suite))
    how = ("--suite", tmp_path / "mine.yaml", "--examples", 9, "--json")
    code, out, err = call("evaluate", finished.folder / "models/clean", *how)
    assert code == 0, err
    assert json.loads(out)["strengths"] == {"one-linf": ball["linf"]}
    assert "strengths: linf eps 0.011\n" in err


def test_images_of_another_size_are_refused(finished: FinishedRun, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in map(str, range(10)):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (9, 8)).save(tmp_path / split / name / "a.png")
    raw = raw_recipe("clean")
    raw["data"]["name"] = "mine"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    model = finished.folder / "models/clean"
    call_it = partial(call, "evaluate", model, "--recipe", tmp_path / "mine.yaml")
    code, _, err = call_it("--data", tmp_path)
    assert code == 2
    assert "was trained on images of 8x8 pixels, but those of mine have 8x9" in err


def test_evaluate_with_a_suite(finished: FinishedRun) -> None:
    model = finished.folder / "models/more"
    code, out, err = call("evaluate", model, "--suite", "quick", "--examples", 10)
    assert code == 0, err
    assert {line.split()[0] for line in out.splitlines()[1:-2]} >= {"clean", "fog", "pgd-linf"}
    assert call("evaluate", model, "--suite", "tabel1")[0] == 2


def test_evaluate_a_foreign_classifier(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x): return x.flatten(1)[:, :10] - 100\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    recipe = str(finished.folder / "recipe.yaml")
    common = ("evaluate", "theirs:Net", "--examples", 20)
    code, out, err = call(*common, "--recipe", recipe, "--suite", "quick")
    assert code == 0, err
    assert "pgd-linf" in out
    code, _, err = call(*common)
    assert code == 2
    assert "theirs:Net has no recipe; add --recipe" in err
    code, _, err = call(*common, "--recipe", recipe, "--mean", "0.5,0.25", "--std", "1")
    assert code == 2
    assert "(0.5, 0.25)" in err
    assert "(1.0,)" in err
    code, _, err = call(*common, "--recipe", recipe, "--input-range", "0..2")
    assert code == 2
    assert "expected one of 0..1" in err


def test_a_model_that_answers_nothing_finite_is_said_to(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silent.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x): return x.flatten(1)[:, :10] * torch.nan\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    recipe = str(finished.folder / "recipe.yaml")
    common = ("evaluate", "silent:Net", "--examples", 20, "--recipe", recipe, "--suite", "quick")
    code, out, err = call(*common, "--out", tmp_path / "o.npz")
    assert code == 0, err
    assert "note: clean, fog" in out
    assert ": the answers to 20 of 20 images were not finite; they count as wrong" in out
    notes = json.loads((tmp_path / "o.json").read_text())["notes"]
    assert {"row": "clean", "what": "answers not finite", "images": 20, "of": 20} in notes
    assert len(Outcomes.load(tmp_path / "o.npz").notes) == len(notes)


def test_a_stopped_evaluation_resumes(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = finished.folder / "models/more", tmp_path / "o.npz"
    whole = call("evaluate", model, "--out", tmp_path / "whole.npz")[1]
    real, calls = morex.run.partial_results.PartialRows.keep, []
    monkeypatch.setattr(morex.run.partial_results, "_SOON", 0.0)  # each row is written at once

    def dies(self: object, name: str, right: np.ndarray, *, whole: bool) -> None:
        real(self, name, right, whole=whole)
        calls.append(name)
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(morex.run.partial_results.PartialRows, "keep", dies)
    assert call("evaluate", model, "--out", out)[0] != 0
    assert not out.exists()
    monkeypatch.undo()
    seen: list[str] = []
    monkeypatch.setattr(
        morex.run.partial_results.PartialRows,
        "keep",
        lambda self, name, right, *, whole: (
            seen.append(name) or real(self, name, right, whole=whole)
        ),
    )
    assert call("evaluate", model, "--out", out)[0] == 0
    assert calls[0] not in seen
    first, again = Outcomes.load(tmp_path / "whole.npz"), Outcomes.load(out)
    for row in first.rows:
        np.testing.assert_array_equal(first.right[row], again.right[row])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "o.json", "o.npz", "whole.json", "whole.npz"
    ]  # fmt: skip
    assert "union" in whole


def test_rows_of_another_forward_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = """
import torch
from torch import nn

class Always(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 10)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        return self.fc(x.flatten(1)) + torch.eye(10)[{}]
"""
    rows = morex.run.partial_results.PartialRows
    monkeypatch.setattr(rows, "remove", lambda self: None)
    monkeypatch.setattr(morex.run.partial_results, "_SOON", 0.0)
    shares = []
    for says in (0, 7):
        (tmp_path / "always.py").write_text(code.format(says))
        command = ["evaluate", "always.py:Always", "--recipe", "digits", "--suite", "quick"]
        code_, _, err = call(*command, "--examples", 50, "--out", "x.npz")
        assert code_ == 0, err
        shares.append(Outcomes.load(tmp_path / "x.npz").right["clean"])
    assert not (shares[0] & shares[1]).any()


@pytest.mark.parametrize(
    ("more", "kept"), [((), True), (("--seed", 1), False), (("--examples", 20), False)]
)
def test_rows_are_kept_for_the_same_settings_only(
    more: tuple[object, ...],
    kept: bool,
    finished: FinishedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, out = finished.folder / "models/clean", tmp_path / "o.npz"
    rows = morex.run.partial_results.PartialRows
    with monkeypatch.context() as patch:
        patch.setattr(rows, "remove", lambda self: None)
        patch.setattr(morex.run.partial_results, "_SOON", 0.0)  # each row is written at once
        assert call("evaluate", model, "--out", out)[0] == 0
    partial = tmp_path / "o.npz.partial"
    wrong = {row: np.zeros_like(right) for row, right in Outcomes.load(partial).right.items()}
    Outcomes(wrong).save(partial)  # as if an evaluation had found these, and then been stopped
    assert call("evaluate", model, "--out", out, *more)[0] == 0
    assert Outcomes.load(out).right["clean"].any() == (not kept)


def test_json_is_all_that_standard_output_holds(finished: FinishedRun, tmp_path: Path) -> None:
    model, out = finished.folder / "models/more", tmp_path / "o.npz"
    code, said, err = call("evaluate", model, "--examples", 20, "--out", out, "--json")
    assert code == 0, err
    found = json.loads(said)
    assert found == json.loads(out.with_suffix(".json").read_text())
    outcomes = Outcomes.load(out)
    assert [*found["rows"]] == [*outcomes.rows, "union"]
    assert found["mean"] == outcomes.mean()
    assert found["rows"]["clean"]["n"] == 20
    lines = err.splitlines()
    assert lines[1].startswith("strengths: ")
    assert [line.split()[0] for line in lines[2:-3]] == [*outcomes.rows]


def test_columns_are_aligned_for_long_names(finished: FinishedRun, tmp_path: Path) -> None:
    long = "a-row-with-a-rather-long-name"
    row = {"attack": "draws", "over": "clean"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"name": "s", "rows": {"c": row, long: row}}))
    model = finished.folder / "models/clean"
    said = call("evaluate", model, "--suite", tmp_path / "s.yaml", "--examples", 20)[1]
    lines = said.splitlines()[1:]
    assert {line.index("%") for line in lines} == {len(long) + 2 + 5}
