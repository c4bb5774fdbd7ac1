"""Forecasts for a GPU that is not here, against what the pilot measured on one."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import CPU, raw_recipe, tiny
from torch import nn

import morex.run.calibration
import morex.run.estimates
from morex.attacks import PGD, WorstOfDraws
from morex.data import Data, ImageSet
from morex.perturbations import Clean, Linf
from morex.recipe import Recipe, load_recipe, parse_recipe
from morex.run import Builder, estimate
from morex.run.calibration import Speed
from morex.run.forecast import H200, forecast
from morex.run.gpu_setup import Setups, searched_together
from morex.training import Alternate, Average, Max, Objective, SideBySide, Single

PGD10 = PGD(Linf(0.03), steps=10, keep="last")
CLEAN = WorstOfDraws(Clean())


def blank(count: int) -> ImageSet:
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    return ImageSet(images, torch.arange(count) % 10, tuple("0123456789"))


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Data:
    """As many images as CIFAR-10 has, all black."""
    statistics = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    monkeypatch.setattr(Builder, "pixel_statistics", statistics)
    return Data("blank", blank(50_000), blank(10_000))


@pytest.fixture
def builder(data: Data) -> Builder:
    return Builder(load_recipe("cifar10-fast"), data, CPU)


def a_second(builder: Builder, steps: int, *, batch: int) -> float:
    """Return how many examples of PGD training with so many steps a second has."""
    speed = forecast(H200, builder, builder.network("Minf"), batch, "bf16", "compiled")
    return 1 / (steps * (speed.forward + speed.backward) + speed.update)


def test_rates_are_those_of_the_pilot(builder: Builder) -> None:
    assert a_second(builder, 10, batch=256) == pytest.approx(11_049, rel=0.03)
    assert a_second(builder, 10, batch=512) == pytest.approx(12_559, rel=0.06)
    assert a_second(builder, 10, batch=128) == pytest.approx(8_635, rel=0.06)
    assert a_second(builder, 0, batch=256) == pytest.approx(68_000, rel=0.03)


def test_between_and_beyond_the_measured_batch_sizes() -> None:
    assert H200.rate("captured", 256) == 133e12
    assert H200.rate("captured", 384) == 138e12
    assert H200.rate("captured", 4096) == 143e12
    assert H200.rate("captured", 64) == 115e12 / 2


def test_the_whole_table_is_forecast(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(morex.run.builder, "load_data", lambda *_, **__: data)
    monkeypatch.setattr(morex.run.estimates, "calibrate", None)  # nothing is timed
    found = {one.stage.id: one for one in estimate(load_recipe("cifar10-fast"), CPU, gpu=H200)}
    # the pilot's 25 epochs took 113 s, and 46 s before the first of them
    assert found["train-minf"].seconds == pytest.approx(24 / 25 * 113 + 19, rel=0.1)
    assert found["train-m2"].seconds == pytest.approx(18, abs=10)
    assert found["train-mfog"].seconds == pytest.approx(4, abs=6)
    judged = found["evaluate-minf"]  # DeepFool, in float32, ends after few of its steps
    assert judged.usual_seconds < 0.25 * judged.seconds
    whole = sum(one.usual_seconds for one in found.values())
    assert 10 * 60 < whole < 16 * 60
    assert all(one.bytes < 70 * 2**30 for one in found.values())


def test_narrow_networks_are_refused() -> None:
    with pytest.raises(
        ValueError, match="made from networks of width 64, but the recipe has width 4"
    ):
        estimate(tiny("clean"), CPU, gpu=H200)


def float32(recipe: Recipe) -> Recipe:
    use = recipe.evaluation.model_copy(update={"search_precision": "fp32"})
    return recipe.model_copy(update={"evaluation": use})


def test_attacks_in_float32_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def faked(*given: Any) -> Speed:
        return Speed(1, 1, 3, 0, 0) if given[4] == "bf16" else Speed(10, 10, 30, 0, 0)

    monkeypatch.setattr(morex.run.estimates, "forecast", faked)
    raw = raw_recipe("clean") | {"network": {"architecture": "resnet10", "width": 64}}
    raw["evaluation"] = {
        "examples": 30,
        "search_precision": "auto",
        "rows": {
            "pgd": {"attack": "pgd", "perturbation": "linf", "steps": 2},
            "apgd": {"attack": "autoattack", "perturbation": "linf", "attacks": ["apgd-ce"]},
        },
    }
    recipe = parse_recipe(raw)
    mixed, slow = (
        next(e for e in estimate(r, CPU, gpu=H200) if e.stage.kind == "evaluate")
        for r in (recipe, float32(recipe))
    )
    apgd = 30 * (101 + 101 + 1)
    others = mixed.cost.forward + mixed.cost.backward - apgd
    assert mixed.seconds == pytest.approx(10 * apgd + others)
    assert slow.seconds == pytest.approx(10 * (apgd + others))


@pytest.mark.parametrize(
    ("objective", "images"),
    [
        (Single((CLEAN,)), 64),
        (Single((PGD10,)), 64),
        (Max((PGD10, CLEAN, PGD10)), 128),
        (Average((PGD10, PGD10)), 128),
        (SideBySide((CLEAN, PGD10, PGD10, CLEAN)), 32),
        (SideBySide((CLEAN, PGD10), (1, 3)), 48),
        (Alternate((CLEAN, PGD10)), 64),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_many_images_are_searched_together(objective: Objective, images: int) -> None:
    assert searched_together(objective, 64) == images


def test_each_shape_is_compiled_once_and_each_turn_is_captured() -> None:
    phase = _phase(batch=256)
    setups = Setups()
    first = setups.seconds(phase, Single((PGD10,)), 1, "compiled", step=0.1)
    again = setups.seconds(phase, Single((PGD10,)), 1, "compiled", step=0.1)
    assert first == pytest.approx(0.4 + 3 * 0.1 + 40 + 19)
    assert again == pytest.approx(0.4 + 3 * 0.1 + 2 * 3)
    more = setups.seconds(phase, Max((PGD10, PGD10)), 1, "compiled", step=0.1)
    assert more == pytest.approx(0.4 + 3 * 0.1 + 2 * 19 + 3)  # searches of 512, and their judges
    in_turn = Setups().seconds(phase, SideBySide((CLEAN, PGD10)), 2, "captured", step=0.1)
    assert in_turn == pytest.approx(2 * (0.4 + 3 * 0.1))


def _phase(batch: int) -> Any:
    recipe = tiny("clean")
    found = morex.run.estimates.phase_of(recipe, "clean", "train")
    assert found
    return replace(found, training=replace(found.training, batch_size=batch))


def test_passes_on_a_gpu_are_timed_as_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = []

    def captured(work: Any, device: torch.device) -> Any:
        assert device == CPU
        return lambda: (replayed.append(work), work())[1]

    monkeypatch.setattr(morex.run.calibration, "_captured", captured)
    builder = Builder.open(tiny("clean"), CPU)
    network: nn.Module = builder.network("clean")
    morex.run.calibration.calibrate(builder, network, 16, "fp32", "captured")
    assert len({id(work) for work in replayed}) == 3  # both passes, one alone, an update
