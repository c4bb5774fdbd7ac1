import csv
import io
import json
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from calling import call
from PIL import Image
from rich.console import Console
from tiny import raw_recipe

import morex.run.partial_results
from morex.artifacts.outcomes import Outcomes
from morex.cli.progress_lines import Clock, progress_printer
from morex.data import load_data
from morex.recipe import load_recipe
from morex.run import Finished, Planned, Progressed, Stage, Started

COMMANDS = [
    "run",
    "plan",
    "recipes",
    "models",
    "table",
    "report",
    "gate",
    "evaluate",
    "audit",
    "compare",
    "predict",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run made by the command line, with what it printed."""
    folder = tmp_path_factory.mktemp("cli")
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(raw_recipe("clean", "Minf", "Mfog", "MoRE")))
    code, out, err = call("run", recipe, "training.epochs=1", "--out", folder / "run")
    assert code == 0, err
    return folder / "run", out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"morex {command}" in re.sub(r"\s+", " ", out.split("Example")[1])


def test_recipes_lists_what_ships() -> None:
    shipped = {f.name.removesuffix(".yaml") for f in (files("morex.recipe") / "shipped").iterdir()}
    code, out, _ = call("recipes")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == shipped


def test_help_and_table_do_without_torch(made: tuple[Path, str, str]) -> None:
    code = "import sys; sys.argv[0] = 'morex'\nfrom morex.cli import main\ntry: main()\n"
    code += "except SystemExit as end: assert not end.code, end.code\n"
    code += "assert 'torch' not in sys.modules"
    for arguments in (["--help"], ["table", str(made[0])]):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_run_reports_every_stage_in_plain_lines_and_ends_with_the_table(
    made: tuple[Path, str, str],
) -> None:
    folder, out, err = made
    lines = [line for line in err.splitlines() if line.startswith("[")]
    assert lines[0].startswith("[1/9] train clean")
    assert lines[-1].startswith("[9/9] evaluate MoRE")
    assert any("warm up gate of MoRE" in line for line in lines)
    assert "\x1b" not in out + err
    assert "union" in out
    assert str(folder) in out.splitlines()[-1].replace("\n", "")


def test_run_again_skips_everything(made: tuple[Path, str, str]) -> None:
    folder = made[0]
    code, _, err = call("run", folder / "recipe.yaml", "--out", folder)
    assert code == 0
    assert err.count("done before") == 9


def test_table_formats_agree(made: tuple[Path, str, str]) -> None:
    folder = made[0]
    table = json.loads(call("table", folder, "--format", "json")[1])
    assert table["columns"] == ["clean", "Minf", "Mfog", "MoRE"]
    assert table["n"]["clean"] == 30
    rows = csv.DictReader(io.StringIO(call("table", folder, "--format", "csv")[1]))
    cells = {(r["row"], r["column"]): float(r["accuracy"]) for r in rows}
    for row, values in table["rows"].items():
        stored = Outcomes.load(folder / "outcomes" / "more.npz").accuracy(row).value
        assert values[3] == pytest.approx(100 * stored, abs=0.005)
        assert cells[row, "MoRE"] == pytest.approx(values[3], abs=0.005)
    assert call("table", folder, "--format", "markdown")[1].count("|") > 20
    code, _, err = call("table", folder, "--format", "pdf")
    assert code == 2
    assert "json" in err


def test_evaluate_repeats_the_runs_figures(made: tuple[Path, str, str], tmp_path: Path) -> None:
    folder = made[0]
    code, out, err = call("evaluate", folder / "models/more", "--out", tmp_path / "again.npz")
    assert code == 0, err
    again = Outcomes.load(tmp_path / "again.npz").right
    for row, right in Outcomes.load(folder / "outcomes/more.npz").right.items():
        np.testing.assert_array_equal(right, again[row])
    assert "union" in out
    few = call("evaluate", folder / "models/clean", "--examples", 7)[1]
    assert "n 7" in few


def test_models_of_a_set_are_evaluated_as_the_set_says(
    made: tuple[Path, str, str], tmp_path: Path
) -> None:
    shutil.copytree(made[0] / "models/clean", tmp_path / "clean")
    recipe = load_recipe(str(made[0] / "recipe.yaml")).of_evaluation()
    recipe["evaluation"]["rows"] = {"clean": recipe["evaluation"]["rows"]["clean"]}
    about = {"description": "one", "default": "clean", "recipe": recipe}
    (tmp_path / "set.json").write_text(json.dumps(about))
    code, out, err = call("evaluate", tmp_path / "clean")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["clean", "union", "mean"]


def test_evaluate_with_another_recipe(made: tuple[Path, str, str], tmp_path: Path) -> None:
    raw = raw_recipe("clean")
    raw["evaluation"]["rows"] = {"only": {"attack": "draws", "perturbation": "clean"}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(raw))
    model = made[0] / "models/clean"
    code, out, _ = call("evaluate", model, "--recipe", tmp_path / "other.yaml")
    assert code == 0
    assert "only" in out
    assert "pgd" not in out


def test_predict_names_class_confidence_and_gate(
    made: tuple[Path, str, str], tmp_path: Path
) -> None:
    test = load_data("digits").test
    pictures = []
    for n in range(3):
        pixels = test.images[n].permute(1, 2, 0).numpy()
        pictures.append(tmp_path / f"{n}.png")
        Image.fromarray(pixels).save(pictures[-1])
    large = tmp_path / "large.png"
    Image.fromarray(pixels[:, :, 0]).resize((40, 30)).save(large)
    code, out, err = call("predict", "--model", made[0] / "models/more", *pictures, large)
    assert code == 0, err
    lines = out.splitlines()
    assert len(lines) == 4
    found = re.fullmatch(
        r".*0\.png: \d \((\d+\.\d)%\); gate: clean (.+), Minf (.+), Mfog (.+)", lines[0]
    )
    assert found
    assert sum(map(float, found.groups()[1:])) == pytest.approx(1, abs=0.02)
    assert "gate" not in call("predict", "--model", made[0] / "models/clean", pictures[0])[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "digist"], "did you mean 'digits'"),
        (["run", "digits", "training.epoch=3"], "training.epoch: unknown key"),
        (["plan", "digits", "seed"], "expected KEY.KEY=VALUE"),
        (["table", "nowhere"], "no run directory"),
        (["evaluate", "nowhere"], "no model in"),
        (["predict", "--model", "nowhere", "x.png"], "no model in"),
        (["run", "digits", "--device", "abacus"], "--device abacus"),
        (["run", "digits", "--device", "cuda:99"], "--device cuda:99"),
    ],
)
def test_mistakes_get_one_message_and_exit_code_2(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*arguments)
    assert code == 2
    assert told in err
    assert "Traceback" not in err


def test_predict_names_the_picture_that_cannot_be_read(
    made: tuple[Path, str, str], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    code, _, err = call("predict", "--model", made[0] / "models/clean", bad)
    assert code == 2
    assert "bad.png" in err


def test_plan_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw_recipe("clean", "Minf", "Mfog", "MoRE")))
    code, out, err = call("plan", "tiny.yaml")
    assert code == 0, err
    for stage in ("train-clean", "gate-more", "train-more", "evaluate-more", "9 stages"):
        assert stage in out
    assert {p.name for p in tmp_path.iterdir()} == {"tiny.yaml"}


def test_live_line_shows_the_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    stages = [Stage("train", "clean", (), {}), Stage("evaluate", "clean", ("train-clean",), {})]
    with progress_printer(console) as observe:
        observe(Planned(tuple(stages), {"train-clean": 10.0, "evaluate-clean": 30.0}))
        observe(Started(stages[0]))
        observe(Progressed(stages[0], 0.5, "epoch 1/2"))
        observe(Finished(stages[0], 2.0, "validation 90.0%"))
        observe(Started(stages[1]))
        observe(Progressed(stages[1], 0.1, "clean 95%"))
        observe.bars.refresh()
        observe(Finished(stages[1], 2.0, "mean 50%"))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "[1/2] train clean" in shown
    assert "all stages" in shown
    assert " left" in shown


def test_clock_extrapolates_each_kind_at_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock()
    work = {"a": ("train", 10.0), "b": ("evaluate", 100.0), "c": ("train", 30.0)}
    clock.begin(work | {"d": ("evaluate", 100.0), "e": ("train", 99.0)})
    clock.skip("e")
    clock.start("a")
    clock.move("a", 0.0)
    assert clock.time_left() == ""
    now = 5.0
    clock.move("a", 0.5)
    assert clock.time_left() == "about 4 min left"  # 1 s per unit for the 235 that are left
    now = 10.0
    clock.finish("a")
    clock.start("b")
    now = 12.0
    clock.finish("b")  # evaluations: 0.02 s per unit
    clock.start("c")
    clock.move("c", 0.0)
    now = 27.0
    clock.move("c", 0.5)
    assert clock.time_left() == "about 17 s left"


def test_clock_counts_stages_side_by_side_and_resumed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock()
    clock.begin({"a": ("train", 100.0), "b": ("train", 100.0)})
    clock.start("a")
    clock.start("b")
    clock.move("a", 0.3)  # resumed there
    clock.move("b", 0.0)
    now = 10.0
    clock.move("a", 0.4)
    clock.move("b", 0.1)
    assert clock.time_left() == "about 75 s left"  # 150 units at 1 s each, two at a time


def test_evaluate_with_a_suite(made: tuple[Path, str, str]) -> None:
    model = made[0] / "models/more"
    code, out, err = call("evaluate", model, "--suite", "quick", "--examples", 10)
    assert code == 0, err
    assert {line.split()[0] for line in out.splitlines()[1:-2]} >= {"clean", "fog", "pgd-linf"}
    assert call("evaluate", model, "--suite", "tabel1")[0] == 2


def test_evaluate_a_model_of_somebody_else(
    made: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x): return x.flatten(1)[:, :10] - 100\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    recipe = str(made[0] / "recipe.yaml")
    common = ("evaluate", "theirs:Net", "--examples", 20)
    code, out, err = call(*common, "--recipe", recipe, "--suite", "quick")
    assert code == 0, err
    assert "pgd-linf" in out
    code, _, err = call(*common)
    assert code == 2
    assert "theirs:Net has no recipe; add --recipe" in err
    code, _, err = call(*common, "--recipe", recipe, "--input-range", "0..2")
    assert code == 2
    assert "expected one of 0..1" in err


def test_an_evaluation_goes_on_where_it_was(
    made: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = made[0] / "models/more", tmp_path / "o.npz"
    whole = call("evaluate", model, "--out", tmp_path / "whole.npz")[1]
    real, calls = morex.run.partial_results.PartialRows.keep, []

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


def test_what_was_kept_for_other_settings_is_dropped(
    made: tuple[Path, str, str], tmp_path: Path
) -> None:
    out = tmp_path / "o.npz"
    rows = morex.run.partial_results.PartialRows(
        tmp_path / "o.npz.partial", 0, print, "of another model"
    )
    rows.keep("clean", np.zeros(30, np.bool_), whole=True)
    assert call("evaluate", made[0] / "models/clean", "--out", out)[0] == 0
    assert Outcomes.load(out).right["clean"].any()


def test_audit_says_and_writes_its_findings(made: tuple[Path, str, str], tmp_path: Path) -> None:
    model, out = made[0] / "models/clean", tmp_path / "audit.json"
    budget = ("--examples", 60, "--steps", 2, "--queries", 5, "--out", out)
    code, said, err = call("audit", model, *budget)
    assert code in (0, 1), err
    findings = json.loads(out.read_text())["findings"]
    assert {finding["point"] for finding in findings} == {*range(1, 8)}
    assert code == any(finding["verdict"] == "flag" for finding in findings)
    assert "5. gradients, outputs and continuity" in said


def test_compare_two_models(made: tuple[Path, str, str], tmp_path: Path) -> None:
    files = [made[0] / f"outcomes/{name}.npz" for name in ("clean", "more")]
    code, out, _ = call("compare", *files)
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:-1]}
    loaded = [Outcomes.load(file) for file in files]
    for row in loaded[0].rows:
        for i in (0, 1):
            assert float(rows[row][i]) == pytest.approx(
                100 * loaded[i].accuracy(row).value, abs=0.051
            )
    Outcomes({"other": np.ones(3, np.bool_)}).save(tmp_path / "other.npz")
    code, _, err = call("compare", files[0], tmp_path / "other.npz")
    assert code == 2
    assert "share no row" in err


def test_curve_falls_with_the_strength(made: tuple[Path, str, str], tmp_path: Path) -> None:
    out = tmp_path / "curve.json"
    model = made[0] / "models/clean"
    code, said, err = call("curve", model, "linf", "--factors", "0,1,8", "--out", out)
    assert code == 0, err
    points = json.loads(out.read_text())["points"]
    assert [point["factor"] for point in points] == [0, 1, 8]
    clean = Outcomes.load(made[0] / "outcomes/clean.npz").accuracy("clean").value
    assert points[0]["accuracy"] == clean
    assert points[0]["accuracy"] >= points[1]["accuracy"] >= points[2]["accuracy"]
    assert "Linf" in said
    code, _, err = call("curve", model, "hail")
    assert code == 2
    assert "no perturbation 'hail'; the recipe has clean, fog" in err
    assert call("curve", model, "linf", "--factors", "1,x")[0] == 2
