"""Code that a model or a run names runs only for its own user, or if it is trusted."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from calling import FinishedRun, call
from tiny import changed, raw_recipe

import morex
from morex.core.trust import UntrustedCodeError
from morex.recipe import load_recipe

HAIL = Path(__file__).parents[2] / "examples" / "hail.py"
FEW = ("--examples", 2)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of this user with a perturbation of a file."""
    folder = tmp_path_factory.mktemp("own")
    raw = raw_recipe("clean", "Mfog")
    raw["perturbations"]["hail"] = {"kind": f"{HAIL}:Hail"}
    raw["evaluation"]["rows"]["hail"] = {"attack": "draws", "perturbation": "hail"}
    (folder / "own.yaml").write_text(yaml.safe_dump(changed(raw, "columns", ["clean"])))
    code, _, err = call(
        "run", folder / "own.yaml", "training.epochs=1", "--out", folder / "run", "--jobs", 1
    )
    assert code == 0, err
    return folder / "run"


def trap(folder: Path) -> str:
    """Write a file that must not be imported; return the kind of a perturbation in it."""
    (folder / "trap.py").write_text("raise SystemExit('imported')")
    return f"{folder / 'trap.py'}:Trap"


def with_code(folder: Path, kind: str) -> None:
    """Let the recipe beside a model name code."""
    path = folder / "model.json"
    described = json.loads(path.read_bytes())
    described["about"]["recipe"]["perturbations"]["fog"] = {"kind": kind}
    path.write_text(json.dumps(described))


def test_an_own_run_needs_no_option(own: Path, tmp_path: Path) -> None:
    assert call("evaluate", own / "models/clean", *FEW)[0] == 0
    shutil.copytree(own, tmp_path / "moved")
    assert call("evaluate", tmp_path / "moved/models/clean", *FEW)[0] == 0


def test_an_own_model_outside_its_run_needs_no_option(own: Path, tmp_path: Path) -> None:
    shutil.copytree(own / "models/clean", tmp_path / "clean")
    assert call("evaluate", tmp_path / "clean", *FEW)[0] == 0


@pytest.mark.parametrize("command", [("evaluate",), ("audit",), ("curve", "linf")])
def test_a_model_of_a_stranger_runs_no_code(
    command: tuple[str, ...], finished: FinishedRun, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder / "models/clean", tmp_path / "theirs")
    kind = trap(tmp_path)
    with_code(tmp_path / "theirs", kind)
    code, _, err = call(command[0], tmp_path / "theirs", *command[1:], *FEW)
    assert code == 2
    assert f"names code to run: {kind}" in " ".join(err.split())
    assert "--trust-code" in err


def test_code_that_is_trusted_runs(finished: FinishedRun, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "models/clean", tmp_path / "theirs")
    with_code(tmp_path / "theirs", f"{HAIL}:Hail")
    assert call("evaluate", tmp_path / "theirs", *FEW)[0] == 2
    assert call("evaluate", tmp_path / "theirs", "--trust-code", *FEW)[0] == 0


def test_a_set_of_a_stranger_runs_no_code(finished: FinishedRun, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "models/clean", tmp_path / "clean")
    recipe = load_recipe(str(finished.folder / "recipe.yaml")).of_evaluation()
    recipe["perturbations"]["fog"] = {"kind": trap(tmp_path)}
    (tmp_path / "set.json").write_text(json.dumps({"default": "clean", "recipe": recipe}))
    code, _, err = call("evaluate", tmp_path / "clean", *FEW)
    assert code == 2
    assert "names code to run" in err


@pytest.mark.parametrize("edit", ["unsigned", "changed"])
def test_a_run_of_a_stranger_runs_no_code(edit: str, own: Path, tmp_path: Path) -> None:
    shutil.copytree(own, tmp_path / "run")
    recipe = tmp_path / "run/recipe.yaml"
    text = recipe.read_text()
    signed, _, _ = text.rpartition("# signature")
    theirs = signed if edit == "unsigned" else text.replace(f"{HAIL}:Hail", trap(tmp_path))
    assert theirs != text
    recipe.write_text(theirs)
    for command in (
        ("evaluate", tmp_path / "run/models/clean", *FEW),
        ("extend", tmp_path / "run", "--with", "rain"),
        ("shrink", tmp_path / "run", "--without", "Mfog"),
    ):
        code, _, err = call(*command)
        assert code == 2
        assert "names code to run" in err


def test_recipes_that_a_user_chooses_are_code(own: Path, tmp_path: Path) -> None:
    raw = load_recipe(str(own / "recipe.yaml")).model_dump(mode="json")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    again = ("evaluate", own / "models/clean", "--recipe", tmp_path / "mine.yaml", *FEW)
    assert call(*again)[0] == 0


def test_a_factory_runs_for_its_own_user_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trusted_net.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    from morex.models.external import Foreign, ForeignConfig

    morex.save(Foreign(ForeignConfig("trusted_net:make", last_layer="1")), tmp_path / "net")
    morex.load(tmp_path / "net")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of somebody else"))
    with pytest.raises(UntrustedCodeError, match="trusted_net:make"):
        morex.load(tmp_path / "net")
    morex.load(tmp_path / "net", trust_code=True)
