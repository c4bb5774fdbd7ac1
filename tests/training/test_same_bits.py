"""Trainings that are repeated or resumed end with the same bits."""

import copy
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from callers_settings import SETTINGS
from small_training import (
    CLEAN,
    STOCHASTIC,
    Memory,
    Small,
    config,
    network,
    same,
    state,
)
from torch import Tensor, nn

from morex.attacks import PGD
from morex.models.mixture import Mixture
from morex.perturbations import Linf
from morex.training import PerturbedWeights, TrainingData, train
from morex.training.criteria import ClassOfImage
from morex.training.drawn import OneDrawn
from morex.training.objectives import Batch, Single
from morex.training.optimizers import restore_optimizer
from morex.training.state import Snapshot


def test_seed_and_name_decide_every_bit(few: TrainingData) -> None:
    def run(**how: Any) -> dict[str, Tensor]:
        model = Small()
        train(model, STOCHASTIC, few, config(epochs=1), **how)
        return state(model)

    first = run(seed=1, name="a")
    assert same(first, run(seed=1, name="a"))
    assert not same(first, run(seed=2, name="a"))
    assert not same(first, run(seed=1, name="b"))


@pytest.mark.parametrize("setting", [name for name in SETTINGS if name != "rounded products"])
def test_settings_around_a_training_change_no_bit(few: TrainingData, setting: str) -> None:
    plain, model = Small(), Small()
    fitted = train(plain, STOCHASTIC, few, config(epochs=1))
    with SETTINGS[setting]():
        inside = train(model, STOCHASTIC, few, config(epochs=1))
    assert inside.history == fitted.history
    assert same(state(model), state(plain))


def test_data_that_was_made_in_inference_mode_can_be_trained_on(few: TrainingData) -> None:
    with torch.inference_mode():
        held = TrainingData(few.train.take(torch.arange(60)), few.validation.first(20))
    assert not held.train.images.is_inference()
    train(Small(), STOCHASTIC, held, config(epochs=1))


def test_training_does_not_touch_global_generators(few: TrainingData) -> None:
    def generators() -> tuple[Any, ...]:
        legacy = np.random.get_state()
        return torch.get_rng_state().tolist(), legacy[1].tolist(), random.getstate()

    before = generators()
    train(Small(), STOCHASTIC, few, config(epochs=1))
    assert generators() == before


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"average": 0.9, "validate_every": 2, "awp": PerturbedWeights(0.01, warm_up=0.6)},
        {"average": 0.9, "validate_every": None},
        {"optimizer": "adamw", "learning_rate": 0.01, "average": 0.9, "clip_norm": 0.5},
        {"gradient_projection": 0.4},
    ],
    ids=["sgd", "sgd-average", "sgd-not-validated", "adamw-average-clip", "natural"],
)
def test_a_training_that_is_resumed_at_any_step_ends_with_the_same_bits(
    changes: dict[str, Any], few: TrainingData
) -> None:
    memory, whole = Memory(), network()
    fit = train(whole, STOCHASTIC, few, config(**changes), checkpoint=memory)
    assert [s.values["step"] for s in memory.saved] == list(range(1, 11))
    for saved in memory.saved:
        # other weights to begin with: the snapshot must bring everything
        resumed, again = network(seed=99), Memory(start=saved)
        refit = train(resumed, STOCHASTIC, few, config(**changes), checkpoint=again)
        assert same(state(resumed), state(whole)), saved.values["step"]
        assert refit.history == fit.history
        assert len(again.saved) == 10 - saved.values["step"]
    saved = memory.saved[4]
    before = copy.deepcopy(saved)
    train(network(), STOCHASTIC, few, config(**changes), checkpoint=Memory(start=saved))
    assert same(saved.tensors, before.tensors)  # a snapshot can be used again
    assert saved.values == before.values


def test_a_training_that_draws_by_error_resumes_with_the_same_bits(few: TrainingData) -> None:
    objective = OneDrawn((CLEAN, PGD(Linf(0.3), steps=1)), by_error=True)
    settings = config(epochs=14, validate_every=None)  # errors are measured at 0, 32 and 64
    memory, whole = Memory(every=7), Small()
    train(whole, objective, few, settings, checkpoint=memory)
    drawn_by = [tuple(s.values["errors"]) for s in memory.saved]
    assert len(set(drawn_by)) == 3
    assert drawn_by[0] == ()
    for saved in (memory.saved[2], memory.saved[5], memory.saved[9]):
        resumed = Small(seed=9)
        train(resumed, objective, few, settings, checkpoint=Memory(start=saved))
        assert same(state(resumed), state(whole)), saved.values["step"]


def test_a_resumed_training_may_return_the_best_weights_from_before_the_interruption(
    few: TrainingData,
) -> None:
    class Fading(ClassOfImage):
        """Answers are right in the first epoch only, that is in the first five steps."""

        def hits(self, model: nn.Module, batch: Batch) -> Tensor:
            return (model.norm.num_batches_tracked <= 5).expand(len(batch.y))

    memory, whole, settings = Memory(), Small(), config(epochs=3)
    fit = train(whole, STOCHASTIC, few, settings, criterion=Fading(), checkpoint=memory)
    assert [entry["score"] for entry in fit.history] == [1, 0, 0]
    assert whole.norm.num_batches_tracked == 5
    for saved in memory.saved[4:]:
        resumed = Small(seed=9)
        again = Memory(start=saved)
        train(resumed, STOCHASTIC, few, settings, criterion=Fading(), checkpoint=again)
        assert same(state(resumed), state(whole))


def test_the_state_of_an_optimizer_comes_back_on_the_device_of_its_parameter() -> None:
    moments = {"exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2), "step": torch.tensor(3.0)}
    saved = Snapshot({f"optimizer/0/{name}": t for name, t in moments.items()}, {})
    parameter = nn.Parameter(torch.zeros(2, device="meta"))  # stands for an accelerator
    optimizer = torch.optim.AdamW([parameter], fused=False)
    restore_optimizer(optimizer, saved.part("optimizer"))
    assert {t.device.type for t in optimizer.state[parameter].values()} == {"meta"}


def test_a_resumed_mixture_ends_with_the_same_bits(few: TrainingData) -> None:
    def mixture() -> Mixture:
        return Mixture({"a": Small(1), "b": Small(2)}, Small(3, outputs=2))

    memory, whole = Memory(), mixture()
    train(whole, STOCHASTIC, few, config(epochs=1), checkpoint=memory)
    assert not any("conv" in name and "experts" in name for name in memory.saved[0].tensors)
    resumed = mixture()
    train(resumed, STOCHASTIC, few, config(epochs=1), checkpoint=Memory(start=memory.saved[2]))
    assert same(state(resumed), state(whole))


def test_time_goes_on_after_an_interruption(few: TrainingData) -> None:
    memory = Memory(every=5)
    fit = train(Small(), Single((CLEAN,)), few, config(epochs=1), checkpoint=memory)
    saved = replace(memory.saved[0], values=memory.saved[0].values | {"seconds": 1000.0})
    refit = train(Small(), Single((CLEAN,)), few, config(epochs=1), checkpoint=Memory(start=saved))
    assert fit.seconds < 100
    assert 1000 <= refit.seconds < 1100
