"""``morex curve``."""

import json
import re
from pathlib import Path

import pytest
from calling import FinishedRun, call

from morex.artifacts.outcomes import Outcomes


def test_a_curve_knows_the_pixels_of_a_classifier(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bright.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x): return x.flatten(1)[:, :10] / 255\n"
    )
    recipe = finished.folder / "recipe.yaml"
    model = f"{tmp_path / 'bright.py'}:Net"
    common = ("curve", model, "linf", "--factors", "1", "--recipe", recipe, "--examples", 5)
    assert call(*common, "--input-range", "0..255")[0] == 0


def test_curve_falls_with_the_strength(finished: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "curve.json"
    model = finished.folder / "models/clean"
    code, said, err = call("curve", model, "linf", "--factors", "0,1,8", "--out", out)
    assert code == 0, err
    points = json.loads(out.read_text())["points"]
    assert [point["factor"] for point in points] == [0, 1, 8]
    clean = Outcomes.load(finished.folder / "outcomes/clean.npz").accuracy("clean").value
    assert points[0]["accuracy"] == clean
    assert points[0]["accuracy"] >= points[1]["accuracy"] >= points[2]["accuracy"]
    lines = [re.split(r"  +", line) for line in said.splitlines()]
    assert [line[0] for line in lines] == [point["perturbation"] for point in points]
    assert [line[1] for line in lines] == [f"{100 * p['accuracy']:.1f}%" for p in points]
    assert points[2]["perturbation"] == "Linf(eps=128/255)"
    code, said, _ = call("curve", model, "linf", "--factors", "0,1,8", "--json")
    assert json.loads(said)["points"] == points
    code, _, err = call("curve", model, "linf", "--factors", "")
    assert code == 2
    assert "at least one factor" in err
    code, _, err = call("curve", model, "hail")
    assert code == 2
    assert "no perturbation 'hail'; the recipe has clean, fog" in err
    code, said, _ = call("curve", model, "fog", "--examples", 5)
    assert code == 0
    assert "note: no point at 2: Fog(t=0.15, light=0.6) is the same there as before" in said
    assert len(said.splitlines()) == 8
    code, _, err = call("curve", model, "fog", "--factors", "3,4")
    assert code == 2
    assert "cannot be as strong as any of these factors" in err
    code, _, err = call("curve", model, "linf", "--factors", "1,x")
    assert code == 2
    assert "--factors '1,x': expected numbers separated by commas" in err
