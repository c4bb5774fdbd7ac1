"""The recipes for one GPU: what each model costs, against what is promised for it."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch

from morex.data import Data, ImageSet
from morex.recipe import load_recipe
from morex.recipe.phases import phase_of
from morex.run import Builder, Stage
from morex.run.costs import network_passes
from morex.run.stages import plan_stages

SIZES = {"cifar10-fast": (50_000, 10, 32), "tiny-imagenet-fast": (100_000, 200, 64)}
LONG = "AVG (all) long"
BASELINES = ("MAX", "AVG", "MSD", "MAX (all)", "AVG (all)", LONG)


def images(count: int, classes: int) -> ImageSet:
    """Return black pixels: only their number matters."""
    blank = torch.zeros(count, 3, 1, 1, dtype=torch.uint8)
    return ImageSet(blank, torch.arange(count) % classes, tuple(map(str, range(classes))))


def stages_of(name: str) -> dict[str, Stage]:
    return {stage.id: stage for stage in plan_stages(load_recipe(name), "", "")}


@cache
def own(name: str) -> dict[str, float]:
    """Return the passes of every stage that trains."""
    count, classes, _ = SIZES[name]
    data = Data("blank", images(count, classes), images(1000, classes))
    builder = Builder(load_recipe(name), data, torch.device("cpu"))
    trainings = [stage for stage in stages_of(name).values() if stage.makes_a_model]
    found = {stage.id: network_passes(builder, stage) for stage in trainings}
    return {stage: cost.forward + cost.backward for stage, cost in found.items()}


@cache
def costs(name: str) -> dict[str, float]:
    """Return the passes of every model, with everything that it is made of or started from."""
    stages, passes = stages_of(name), own(name)

    def ancestry(stage: Stage) -> set[str]:
        return {stage.id}.union(*(ancestry(stages[need]) for need in stage.needs))

    return {
        stage.model: sum(passes[i] for i in ancestry(stage))
        for stage in stages.values()
        if stage.kind == "train"
    }


@pytest.mark.parametrize("name", SIZES)
def test_every_baseline_gets_at_least_the_passes_of_the_costliest_expert(name: str) -> None:
    recipe, found = load_recipe(name), costs(name)
    experts = recipe.mixtures["MoRE (all)"].experts
    assert len(experts) == 9  # the paper's
    costliest = max(found[expert] for expert in experts)
    for baseline in BASELINES:
        assert found[baseline] >= costliest, baseline


@pytest.mark.parametrize("name", SIZES)
def test_one_network_gets_the_passes_of_the_costliest_mixture(name: str) -> None:
    recipe, found = load_recipe(name), costs(name)
    costliest = max(found[mixture] for mixture in recipe.mixtures)
    assert costliest <= found[LONG] <= 1.03 * costliest
    assert LONG in recipe.columns


@pytest.mark.parametrize("name", SIZES)
def test_all_columns_of_the_paper_are_there_and_the_adaptive_suite_is_for_four(name: str) -> None:
    recipe, paper = load_recipe(name), load_recipe("cifar10")
    assert {*recipe.columns} == {*paper.columns, "MoRE+ (all)", LONG}
    assert [*recipe.evaluation.rows] == [*paper.evaluation.rows]
    assert recipe.perturbations == paper.perturbations
    assert recipe.network == paper.network
    under = recipe.columns_under("adaptive_fast")
    assert under == ("MAX (all)", "AVG (all)", "MoRE (all)", "MoRE+ (all)")


@pytest.mark.parametrize("name", SIZES)
def test_searches_in_balls_always_have_256_images(name: str) -> None:
    """Each shape of a batch is compiled once, which takes as long as thousands of steps."""
    recipe = load_recipe(name)
    for model in recipe.trained:
        for kind in ("gate", "train"):
            phase = phase_of(recipe, model, kind)
            if phase is None:
                continue
            shares = phase.shares or (1,) * len(phase.against)
            balls = [n.startswith("l") for n in phase.against]
            per_slot, rest = divmod(phase.training.batch_size, sum(shares))
            if phase.objective == "side-by-side":
                assert rest == 0
                in_balls = sum(s for s, ball in zip(shares, balls, strict=True) if ball)
                assert per_slot * in_balls == 256, model
            elif any(balls):  # those of MAX and AVG in one call
                times = 1 if phase.objective == "msd" else sum(balls)
                assert times * phase.training.batch_size == 256, model


def test_the_budget_in_the_documentation_is_that_of_the_recipe() -> None:
    page = (Path(__file__).parents[2] / "docs/guides/gpu.md").read_text()
    found = re.search(r"\*\*all trainings\*\*[ |]+\*\*([\d.]+) M\*\*", page)
    assert found
    passes = sum(own("cifar10-fast").values())
    assert float(found[1]) == pytest.approx(passes / 1e6, abs=0.1)
    longest, mixture = (costs("cifar10-fast")[name] / 1e6 for name in (LONG, "MoRE+ (all)"))
    assert f"({longest:.1f} M) than the costliest mixture" in page
    assert f"(MoRE+ (all): {mixture:.1f} M)" in page
