"""The recipes of the union that the field reports: what each model costs, and how."""

from functools import cache

import pytest
import torch

from morex.data import Data, ImageSet
from morex.recipe import load_recipe, load_suite
from morex.recipe.phases import phase_of
from morex.run import Builder
from morex.run.costs import network_passes
from morex.training import Average, LogitPairing, OneDrawn

NAMES = ("cifar10-union", "cifar10-union-small")
EQUAL = {
    "cifar10-union": ("SAT", "AVG", "MAX", "MSD", "E-AT long", "RAMP"),
    "cifar10-union-small": ("SAT", "AVG", "MAX", "MSD", "E-AT", "RAMP"),
}


def images(count: int) -> ImageSet:
    """Return black pixels: only their number matters."""
    blank = torch.zeros(count, 3, 1, 1, dtype=torch.uint8)
    return ImageSet(blank, torch.arange(count) % 10, tuple(map(str, range(10))))


@cache
def builder(name: str) -> Builder:
    data = Data("blank", images(50_000), images(1000))
    return Builder(load_recipe(name), data, torch.device("cpu"))


@cache
def own(name: str) -> dict[str, float]:
    """Return the passes of every model that is trained, without those that it is made of."""
    made, found = builder(name), dict[str, float]()
    for stage in made.stages.values():
        if stage.makes_a_model:
            cost = network_passes(made, stage)
            found[stage.model] = found.get(stage.model, 0) + cost.forward + cost.backward
    return found


@pytest.mark.parametrize("name", NAMES)
def test_baselines_get_equal_passes(name: str) -> None:
    passes = [own(name)[model] for model in EQUAL[name]]
    assert max(passes) < 1.1 * min(passes), dict(zip(EQUAL[name], passes, strict=True))


def test_one_network_gets_the_passes_of_the_costliest_mixture() -> None:
    passes, recipe = own("cifar10-union"), load_recipe("cifar10-union")
    for mixture in recipe.mixtures:
        parts = {mixture, "Minf", *recipe.mixtures[mixture].experts}
        assert sum(passes[part] for part in parts) <= passes["MAX long"] + passes["Minf"]


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_that_of_the_suite(name: str) -> None:
    recipe, suite = load_recipe(name), load_suite("union", {})
    assert recipe.evaluation.rows == suite.rows
    assert recipe.perturbations == suite.perturbations


@pytest.mark.parametrize("name", NAMES)
def test_ramp_and_e_at_are_built_from_their_parts(name: str) -> None:
    made, kinds = builder(name), dict[str, tuple[object, object]]()
    for model in ("RAMP", "E-AT", "SAT"):
        phase = phase_of(made.recipe, model, "train")
        assert phase
        kinds[model] = made.objective(phase), made.criterion(phase, lambda _: pytest.fail("none"))
    ramp, e_at, sat = (kinds[model] for model in ("RAMP", "E-AT", "SAT"))
    assert isinstance(ramp[0], Average)
    assert ramp[1] == LogitPairing(1.5)
    assert isinstance(e_at[0], OneDrawn)
    assert isinstance(sat[0], OneDrawn)
    assert (e_at[0].by_error, sat[0].by_error) == (True, False)
    assert made.recipe.networks["RAMP (projection)"].training.gradient_projection == 0.5


def test_searches_in_balls_have_256_or_384_images() -> None:
    """Each shape of a batch is compiled once, which takes as long as thousands of steps."""
    recipe, found = load_recipe("cifar10-union"), set[int]()
    for model in recipe.trained:
        for kind in ("gate", "train"):
            phase = phase_of(recipe, model, kind)
            if phase is None:
                continue
            balls, size = len({*phase.against} - {"clean"}), phase.training.batch_size
            if phase.objective == "side-by-side":
                size //= len(phase.against)
            elif phase.objective not in ("max", "average"):
                balls = min(balls, 1)
            found.add(balls * size)
    assert found - {0} == {256, 384}
