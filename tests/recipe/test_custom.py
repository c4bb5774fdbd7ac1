"""Your own perturbations, from a file: used like any other, and checked."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Spy, raw_recipe

from morex.perturbations import L2, Clean, Fog, Linf, Perturbation, Snow
from morex.perturbations.validate import PerturbationError, check_perturbation
from morex.recipe import RecipeError, parse_recipe
from morex.recipe.components import PERTURBATIONS, described
from morex.report import read_results
from morex.run import run

HAIL = Path(__file__).parents[2] / "examples" / "hail.py"

HEAD = """
from dataclasses import dataclass
import torch
from morex.perturbations import Transform

@dataclass(frozen=True)
class Mine(Transform):
    name = "mine"
    strength: float = 0.5
    def scaled(self, factor): return Mine(self.strength * factor)
    def __call__(self, x, *, generator):
        return """


def raw(kind: str, **numbers: Any) -> dict[str, Any]:
    recipe = raw_recipe("clean", "Mfog")
    recipe["perturbations"]["own"] = {"kind": kind, **numbers}
    recipe["models"]["Mown"] = {"against": "own", "training": {"epochs": 1}}
    recipe["columns"] = ["clean", "Mown"]
    recipe["evaluation"]["rows"]["own"] = {"attack": "draws", "perturbation": "own", "draws": 3}
    return recipe


def mine(folder: Path, result: str) -> str:
    (folder / "mine.py").write_text(HEAD + result + "\n")
    return f"{folder / 'mine.py'}:Mine"


def test_the_example_is_trained_and_evaluated(tmp_path: Path) -> None:
    recipe = raw(f"{HAIL}:Hail", stones=6)
    run(parse_recipe(recipe), tmp_path / "run", jobs=2)  # other processes read it as well
    rows = read_results(tmp_path / "run").file.rows
    assert rows["own"].perturbation["kind"] == f"{HAIL}:Hail"
    spy = Spy()
    run(parse_recipe(recipe), tmp_path / "run", observer=spy)
    assert not spy.done


def test_another_version_of_the_file_redoes_what_used_it(tmp_path: Path) -> None:
    kind = mine(tmp_path, "(x + self.strength).clamp(0, 1)")
    run(parse_recipe(raw(kind, strength="1/10")), tmp_path / "run")
    mine(tmp_path, "(x * self.strength).clamp(0, 1)")
    spy = Spy()
    run(parse_recipe(raw(kind, strength=0.1)), tmp_path / "run", observer=spy)
    assert "train-mown" in spy.done
    assert "train-clean" in spy.skipped


def test_it_is_written_as_it_was_read(tmp_path: Path) -> None:
    recipe = parse_recipe(raw(mine(tmp_path, "x"), strength=0.25))
    written = recipe.model_dump(mode="json")
    assert parse_recipe(written).perturbations == recipe.perturbations
    assert described(recipe.perturbations["own"])["strength"] == 0.25


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("x[:, :1]", "has shape (4, 1, 16, 16), expected that of the images, (4, 3, 16, 16)"),
        ("x * 2", "expected [0, 1]; clamp them"),
        ("x / 0 * 0", "not finite"),
        ("x.double()", "is torch.float64 on cpu, expected torch.float32"),
        ("x.numpy()", "is a ndarray, expected a tensor"),
        ("torch.rand_like(x)", "different results for equal generators"),
        ("x.mul_(0.5)", "changes its input in place"),
        ("x + nothing", "fails on 4 images of shape (3, 16, 16): NameError"),
    ],
)
def test_what_it_returns_is_checked(tmp_path: Path, result: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        parse_recipe(raw(mine(tmp_path, result)))


@pytest.mark.parametrize(
    ("kind", "numbers", "message"),
    [
        ("nowhere.py:Hail", {}, "there is no file 'nowhere.py'"),
        (f"{HAIL}:Rain", {}, "hail.py defines no 'Rain'; correct the name"),
        (f"{HAIL}:hail", {}, "hail.py defines no 'hail'; did you mean 'Hail'"),
        (
            f"{HAIL}:dataclass",
            {},
            "dataclass is not a class derived from Transform, Ball or Parametric",
        ),
        (f"{HAIL}:Hail", {"stones": float("nan")}, "Hail: stones must be a"),
        (f"{HAIL}:Hail", {"stones": True}, "Hail: stones must be a .*, got True"),
        (f"{HAIL}:Hail", {"size": 3}, "no number 'size'; there are stones"),
    ],
)
def test_what_cannot_be_used_is_named(kind: str, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(raw(kind, **numbers))


def test_a_file_that_does_not_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(RecipeError, match=r"importing .*ModuleNotFoundError"):
        parse_recipe(raw(f"{tmp_path / 'bad.py'}:Mine"))


@pytest.mark.parametrize(
    "perturbation", [Clean(), Fog(0.1, 0.5), Snow(2.0), Linf(0.1), L2(1.0)], ids=str
)
def test_those_of_morex_pass(perturbation: Perturbation) -> None:
    check_perturbation(perturbation)


def test_every_kind_with_defaults_passes() -> None:
    for cls in PERTURBATIONS.values():
        try:
            made = cls()
        except TypeError:
            continue
        check_perturbation(made)


def test_a_ball_must_keep_to_its_radius() -> None:
    class Wide(L2):
        def random_start(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return torch.zeros_like(x)

    with pytest.raises(PerturbationError, match=r"random start is .* outside the ball"):
        check_perturbation(Wide(0.1))
