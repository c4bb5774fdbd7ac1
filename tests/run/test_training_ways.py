"""Ways to train in a recipe: TRADES, perturbed weights, extra images, and their comparison."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import changed, raw_recipe

from morex.attacks import PGD, AwayFromOwnAnswers
from morex.perturbations import L2, Linf
from morex.recipe import RecipeError, load_recipe, parse_recipe
from morex.recipe.phases import Phase, phase_of
from morex.run.builder import Builder
from morex.run.costs import examples, stage_passes
from morex.run.data_lines import data_lines
from morex.run.stages import plan_stages
from morex.training import ClassOfImage, PerturbedWeights, Trades


def no_model(name: str) -> Any:
    raise AssertionError(name)


def test_trades_has_its_loss_and_its_search() -> None:
    raw = changed(raw_recipe(), "models.Minf.trades", {"beta": 5})
    raw["models"]["MSD"]["trades"] = {}
    raw["models"]["Minf"]["inner"] = {"steps": 3, "keep": "last"}
    builder = Builder.open(parse_recipe(raw), torch.device("cpu"))

    def phase(name: str) -> Phase:
        found = phase_of(builder.recipe, name, "train")
        assert found
        return found

    criteria = [builder.criterion(phase(name), no_model) for name in ("Minf", "MSD", "clean")]
    assert criteria == [Trades(5), Trades(6), ClassOfImage()]
    (alone,), (union,) = (builder.objective(phase(name)).members for name in ("Minf", "MSD"))
    assert alone == AwayFromOwnAnswers(PGD(Linf(16 / 255), 3, keep="last")).by_loss()
    assert isinstance(union, AwayFromOwnAnswers)
    assert set(union.pgd.balls) == {Linf(16 / 255), L2(0.5)}


@pytest.mark.parametrize(
    ("model", "change", "problem"),
    [
        ("Minf", {"trades": {"beta": 0}}, "models.Minf.trades.beta"),
        ("Minf", {"trades": {"gamma": 1}}, "models.Minf.trades.gamma: unknown key"),
        (
            "MAX",
            {"trades": {}, "logit_pairing": 1.5},
            "trades and logit_pairing are two losses; remove one of them",
        ),
        ("MoRE", {"trades": {}}, "models.MoRE.trades: unknown key"),
        (
            "Minf",
            {"trades": {}, "inner": {"single_step": {}}},
            "trades searches with PGD; remove inner.single_step",
        ),
        (
            "Minf",
            {"trades": {}, "inner": {"restarts": 2}},
            "trades needs a single restart, got inner.restarts: 2",
        ),
        (
            "Minf",
            {"trades": {}, "kind": "distilled", "teacher": "clean"},
            "trades is for labels; a distilled network has a teacher",
        ),
        (
            "Minf",
            {
                "training": {"gradient_projection": 0.5, "average": None},
                "kind": "distilled",
                "teacher": "clean",
            },
            "training.gradient_projection joins a training on labels; a distilled network has a",
        ),
        (
            "MoRE",
            {"gate_warmup": {"gradient_projection": 0.5, "average": None}},
            "gate_warmup.gradient_projection joins a training on labels; a warm-up teaches which",
        ),
        (
            "Minf",
            {"training": {"awp": {"gamma": -1}}},
            "awp needs gamma in (0, 1] and warm_up of at least 0 epochs, got -1",
        ),
        ("Minf", {"training": {"awp": {"beta": 1}}}, "awp.beta: unknown key"),
    ],
)
def test_mistakes_are_named(model: str, change: dict[str, Any], problem: str) -> None:
    raw = raw_recipe()
    raw["models"][model] |= change
    with pytest.raises(RecipeError, match=re.escape(problem)):
        parse_recipe(raw)


def test_trades_is_not_for_compositions() -> None:
    raw = raw_recipe()
    raw["perturbations"]["both"] = {"kind": "compose", "parts": ["fog", "linf"]}
    raw["models"]["MAX"] |= {"trades": {}, "against": ["fog", "both"]}
    said = "models.MAX.trades compares x' with the unchanged image, and the composition both"
    with pytest.raises(RecipeError, match=said):
        parse_recipe(raw)


def test_warm_ups_do_not_inherit_what_needs_labels() -> None:
    raw = raw_recipe()
    raw["training"] |= {"gradient_projection": 0.5, "average": None, "clip_norm": 1.0}
    mixture = parse_recipe(raw).mixtures["MoRE"]
    assert mixture.training
    assert mixture.training.gradient_projection == 0.5
    assert mixture.gate_warmup
    assert mixture.gate_warmup.gradient_projection == 0
    assert mixture.gate_warmup.clip_norm == 1.0


def test_a_recipe_may_perturb_weights() -> None:
    raw = changed(raw_recipe(), "models.Minf.training.awp", {"gamma": 0.01, "warm_up": 2})
    training = parse_recipe(raw).networks["Minf"].training
    assert training.awp == PerturbedWeights(0.01, 2)


def test_extra_images_of_a_recipe_decide_its_trainings(tmp_path: Path) -> None:
    def arrays(seed: int) -> None:
        drawn = np.random.default_rng(seed).integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
        np.savez(tmp_path / "generated.npz", image=drawn, label=np.arange(40) % 10)

    def built(extra: dict[str, Any] | None) -> Builder:
        raw = changed(raw_recipe("clean"), "data.extra", extra)
        return Builder.open(parse_recipe(raw), torch.device("cpu"))

    arrays(0)
    half, most = (built({"folder": str(tmp_path), "share": share}) for share in (0.5, 0.75))
    held = half.training_data.extra
    assert held
    assert len(held.images) == 40
    assert examples(half, half.recipe.training) == 7 * 2 * 32  # 120 images, 16 in a batch
    assert [*data_lines(half)][-1].endswith("9 (4), 50.0% of each batch")
    keys = [b.stages["train-clean"].key({}) for b in (half, most)]
    arrays(1)
    other, none = built({"folder": str(tmp_path), "share": 0.5}), built(None)
    plain = Builder.open(parse_recipe(raw_recipe("clean")), torch.device("cpu"))
    keys += [b.stages["train-clean"].key({}) for b in (other, none, plain)]
    assert len(set(keys)) == 4
    assert keys[3] == keys[4]
    evaluations = [b.stages["evaluate-clean"].decided_by for b in (half, most, other, none)]
    assert all(decided == evaluations[0] for decided in evaluations)
    with pytest.raises(RecipeError, match=r"data\.extra\.share"):
        built({"folder": str(tmp_path), "share": 1})


def test_the_recipe_that_compares_them_gives_each_as_many_passes() -> None:
    recipe = load_recipe("cifar10-ways")
    digits = Builder.open(load_recipe("digits"), torch.device("cpu")).data
    images = digits.train.take(torch.arange(50_000) % len(digits.train))  # as many as CIFAR-10 has
    builder = Builder(recipe, replace(digits, train=images), torch.device("cpu"))
    passes = {}
    for stage in plan_stages(recipe, "", ""):
        if stage.kind == "train" and stage.model != "start":
            cost = stage_passes(builder, stage)
            passes[stage.model] = cost.forward + cost.backward
    assert passes.keys() == {*recipe.columns}
    assert max(passes.values()) < 1.02 * min(passes.values())


def test_the_key_says_that_another_search_judges_single_steps_in_parameters() -> None:
    raw = raw_recipe("Minf")
    raw["perturbations"]["mist"] = {"kind": "adversarial-fog", "density": 1.0}
    raw["models"]["Minf"]["inner"] = {"single_step": {}}
    found = []
    for against in ("linf", "fog", "mist"):
        raw["models"]["Minf"]["against"] = against
        stages = plan_stages(parse_recipe(raw), "", "")
        [decided] = [stage.decided_by for stage in stages if stage.id == "train-minf"]
        found.append(decided.get("judged by"))
    assert found == [None, None, "inner"]


@pytest.mark.parametrize(("steps", "judge"), [(1, "pgd-10"), (2, None)])
def test_the_key_of_a_training_says_that_pgd_10_judges_a_single_step(
    steps: int, judge: str | None
) -> None:
    recipe = parse_recipe(changed(raw_recipe("Minf"), "models.Minf.inner", {"steps": steps}))
    decided = {stage.id: stage.decided_by for stage in plan_stages(recipe, "", "")}
    assert decided["train-minf"].get("judged by") == judge
