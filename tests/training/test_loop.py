"""How a training takes its steps, what it learns, and what it reports."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_training import CLEAN, Onlooker, Small, accuracy, config, network
from torch import Tensor, nn

from morex.attacks import PGD, Model
from morex.core import precision
from morex.data import Augment
from morex.perturbations import Linf
from morex.training import Progress, TrainingData, train
from morex.training.objectives import Single


def test_attacks_see_a_frozen_model_in_evaluation_mode_and_updates_one_in_training_mode(
    few: TrainingData,
) -> None:
    events: list[tuple[str, bool, bool]] = []

    class Watched(Small):
        def forward(self, x: Tensor) -> Tensor:
            weights = any(p.requires_grad for p in self.parameters())
            modes = {m.training for m in self.modules()}
            assert len(modes) == 1
            events.append(("forward", modes.pop(), weights))
            return super().forward(x)

    def look(model: Model, x: Tensor, _: torch.Generator) -> None:
        assert model is watched
        events.append(("attack", watched.training, watched.head.weight.requires_grad))
        model(x)

    watched = Watched().eval()  # whatever mode it arrives in
    train(watched, Single((Onlooker(look),)), few, config(epochs=1))
    step = [("attack", False, False), ("forward", False, False), ("forward", True, True)]
    validation = [("attack", False, False), ("forward", False, False), ("forward", False, False)]
    assert events == step * 5 + validation
    assert all(p.requires_grad for p in watched.parameters())


def test_every_epoch_shuffles_all_images_anew(few: TrainingData) -> None:
    batches: list[Tensor] = []

    def look(model: Model, x: Tensor, _: torch.Generator) -> None:
        if len(x) == 20:
            batches.append(x.flatten(1).sum(1))

    train(Small(), Single((Onlooker(look),)), replace(few, augment=Augment()), config(epochs=2))
    first, second = torch.cat(batches[:5]), torch.cat(batches[5:])
    expected = few.train.pixels(slice(None)).flatten(1).sum(1)
    for epoch in (first, second):
        torch.testing.assert_close(epoch.sort().values, expected.sort().values)
        assert not torch.allclose(epoch, expected)
    assert not torch.allclose(first, second)


def test_every_step_has_a_new_generator(few: TrainingData) -> None:
    drawn: set[float] = set()

    def look(model: Model, x: Tensor, generator: torch.Generator) -> None:
        drawn.add(torch.rand((), generator=generator).item())

    train(Small(), Single((Onlooker(look),)), few, config(epochs=2, validate_every=2))
    assert len(drawn) == 10 + 1


def test_passes_run_in_the_precision_that_is_asked_for(few: TrainingData) -> None:
    def dtypes(asked: str) -> set[torch.dtype]:
        seen: set[torch.dtype] = set()

        class Watched(Small):
            def forward(self, x: Tensor) -> Tensor:
                logits = super().forward(x)
                seen.add(logits.dtype)
                return logits

        model, settings = Watched(), config(epochs=1, batch_size=100, precision=asked)
        train(model, Single((PGD(Linf(0.1), steps=1),)), few, settings)
        assert all(t.dtype == torch.float32 for t in model.parameters())
        return seen

    assert dtypes("fp32") == {torch.float32}
    assert dtypes("bf16") == {torch.bfloat16}


def test_auto_is_bf16_where_that_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for native, expected in [(True, "bf16"), (False, "fp32")]:
        monkeypatch.setattr(precision, "has_fast_bf16", lambda _, native=native: native)
        assert precision.resolved("auto", cpu) == expected
    assert precision.resolved("bf16", cpu) == "bf16"
    assert not precision.has_fast_bf16(torch.device("meta"))


def test_images_come_with_their_channels_innermost_in_memory(few: TrainingData) -> None:
    layouts: list[bool] = []

    def look(model: Model, x: Tensor, _: torch.Generator) -> None:
        layouts.append(x.is_contiguous(memory_format=torch.channels_last))

    train(Small(), Single((Onlooker(look),)), few, config(epochs=1))
    assert layouts == [True] * 6  # five steps and a validation


def test_progress_is_reported_at_the_start_once_a_second_and_at_the_end(
    few: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def tick(model: Model, x: Tensor, _: torch.Generator) -> None:
        nonlocal now
        now += 0.4 if len(x) == 20 else 0

    monkeypatch.setattr("morex.training.loop.time", SimpleNamespace(monotonic=lambda: now))
    reports: list[Progress] = []
    train(Small(), Single((Onlooker(tick),)), few, config(), report=reports.append)
    assert [progress.step for progress in reports] == [0, 3, 6, 9, 10]
    assert math.isnan(reports[0].loss)
    assert [progress.validation is None for progress in reports] == [True, True] + [False] * 3


@pytest.fixture(scope="module")
def learned(digits: TrainingData) -> tuple[nn.Module, list[Progress], list[dict[str, Any]]]:
    model, reports = network(), list[Progress]()
    settings = config(epochs=4, batch_size=32)
    fit = train(model, Single((CLEAN,)), digits, settings, report=reports.append)
    return model, reports, fit.history


def test_a_network_learns_digits(
    learned: tuple[nn.Module, list[Progress], list[dict[str, Any]]], digits: TrainingData
) -> None:
    model, _, history = learned
    assert accuracy(model, digits.validation) > 0.8
    assert history[-1]["loss"] < 0.6 < 1.2 < history[0]["loss"]


def test_progress_is_reported(
    learned: tuple[nn.Module, list[Progress], list[dict[str, Any]]],
) -> None:
    _, reports, history = learned
    last = reports[-1]
    assert (last.epoch, last.epochs) == (4.0, 4)
    assert last.loss == history[-1]["loss"]
    assert last.validation == history[-1]["score"]
    assert last.seconds > 0
    assert [r.epoch for r in reports] == sorted(r.epoch for r in reports)


def test_too_large_a_batch_raises(few: TrainingData) -> None:
    message = "net: 100 training images are less than a batch of 101; lower batch_size"
    with pytest.raises(ValueError, match=message):
        train(Small(), Single((CLEAN,)), few, config(batch_size=101), name="net")
