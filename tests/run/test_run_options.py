"""Options of models in a recipe: gates that learn alone, number format, shares, searches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import CPU, FEW, changed, phase, raw_recipe, rerun, tiny

from morex.artifacts.outcomes import Outcomes
from morex.attacks import DrawnSteering
from morex.evaluation.evaluate import evaluate
from morex.models.mixture import Mixture
from morex.models.named import load_model
from morex.recipe import RecipeError, parse_recipe
from morex.recipe.extend import extended
from morex.recipe.models import MixtureModel
from morex.report import read_results
from morex.report.material import read_material
from morex.report.page import to_report
from morex.run import Builder, estimate, run
from morex.training.objectives import SideBySide

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_mixture_can_train_only_its_gate(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf", "Mfog", "MoRE")
    gate = {"start": "Minf", "experts": {"clean": ["clean", "Minf"]}, "inner": {"steps": 1}}
    raw["models"]["MoRE"] |= {"training": None, "robust_gate": gate}
    raw["columns"], raw["report"] = ["MoRE"], {"examples": 4, "pictures": 2}
    out, recipe = tmp_path / "run", parse_recipe(raw)
    assert "train-more" in {one.stage.id for one in estimate(recipe, torch.device("cpu"))}
    run(recipe, out, jobs=1)
    record = json.loads((out / "stages/train-more.json").read_text())
    assert "passes" not in record
    trained, warm = (load_model(out / f"models/more{part}") for part in ("", "/gate"))
    assert isinstance(trained, Mixture)
    for name, value in warm.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value)
    last = load_model(out / "models/minf").state_dict()["head.weight"]
    assert torch.equal(trained.last_layers()[1].weight, last)
    assert "gate of MoRE" in to_report(read_material(out))
    column = read_results(out).file.columns["MoRE"]
    assert column.training
    assert column.training.backward > 0  # from its warm-up
    warmed = json.loads((out / "stages/gate-more.json").read_text())
    assert column.training.seconds == warmed["seconds"]  # assembling is not training
    grown = extended(recipe, "MoRE", {"rain": {"kind": "rain"}}).models["MoRE + rain"]
    assert isinstance(grown, MixtureModel)
    assert grown.gate_warmup
    assert not grown.training  # in an extension, too, only the gate trains
    assert grown.robust_gate
    assert grown.robust_gate.start is None  # it starts from the existing gate


def test_models_are_judged_as_they_were_saved(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf", "Mfog", "MoRE") | {"saved_precision": "bf16"}
    rerun(tmp_path / "run", raw)
    for folder in (tmp_path / "run/models").iterdir():
        weights = load_file(folder / "model.safetensors")
        assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.bfloat16}
        builder = Builder.open(tiny(), CPU)
        model = builder.ready(load_model(folder))
        again = evaluate(model, builder.test_data, builder.suite(), seed=0, batch_size=16)
        stored = Outcomes.load(tmp_path / f"run/outcomes/{folder.name}.npz")
        for row in stored.rows:
            np.testing.assert_array_equal(again.right[row], stored.right[row])
    mixture, expert = (load_model(tmp_path / "run/models" / name) for name in ("more", "clean"))
    assert torch.equal(mixture.experts[0].stem.conv.weight, expert.stem.conv.weight)


def test_shares_decide_a_network_that_learns_from_several_members_at_once() -> None:
    spec = {"objective": "side-by-side", "against": ["fog", "linf"], "shares": {"fog": 3}}
    recipe = parse_recipe(changed(raw_recipe("clean"), "models.clean", spec))
    objective = Builder.open(recipe, CPU).objective(phase(recipe, "clean"))
    assert isinstance(objective, SideBySide)
    assert objective.shares == (3, 1)
    wrong = changed(raw_recipe("clean"), "models.clean.shares", {"clean": 2})
    with pytest.raises(RecipeError, match="shares: need the objective side-by-side, got single"):
        parse_recipe(wrong)


def test_a_push_makes_the_training_of_a_mixture_steer_its_gate(out: Path) -> None:
    before = (out / "models/more/model.safetensors").read_bytes()
    assert not rerun(out, changed(raw_recipe(*FEW), "models.MoRE.inner", {"push": 0})).done
    raw = changed(raw_recipe(*FEW), "models.MoRE.inner", {"push": 2})
    builder = Builder.open(parse_recipe(raw), CPU)
    linf = builder.recipe.perturbations["linf"]
    more = phase(builder.recipe, "MoRE")
    assert builder.objective(more).members[1] == DrawnSteering(  # type: ignore[arg-type]
        linf, 2, 2.5, 2, goal="loss"
    )
    spy = rerun(out, raw)
    assert sorted(spy.done) == ["evaluate-more", "gate-more", "train-more"]
    assert (out / "models/more/model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.Minf.inner", {"push": 1}, r"models\.Minf\.inner\.push: a network has no gate"),
        ("models.MoRE.inner", {"push": -1}, r"models\.MoRE\.inner\.push"),
        (
            "models.MoRE.inner",
            {"push": 1, "restarts": 2},
            "push: steering needs random_start: true and restarts: 1",
        ),
        ("models.MoRE.inner", {"push": 1, "keep": "last"}, "steering keeps the best iterate"),
        (
            "models.Minf.inner",
            {"keep": "last", "restarts": 2},
            "keep: last needs a single restart, got 2 restarts",
        ),
        ("models.Minf.inner", {"keep": "first"}, "models.Minf.inner.keep"),
    ],
)
def test_wrong_searches_are_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_recipe(changed(raw_recipe(*FEW), path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.MoRE.shares", {"hail": 2}, r"models\.MoRE\.shares: 'hail' is not in against"),
        ("models.MoRE.shares", {"clean": 0}, r"models\.MoRE\.shares\.clean"),
        ("models.MoRE.objective", "alternate", "need the objective side-by-side, got alternate"),
    ],
)
def test_wrong_shares_are_named(path: str, value: Any, message: str) -> None:
    raw = changed(raw_recipe(*FEW), "models.MoRE.shares", {"clean": 2})
    with pytest.raises(ValueError, match=message):
        parse_recipe(changed(raw, path, value))
