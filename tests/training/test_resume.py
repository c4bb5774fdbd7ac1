"""A checkpoint of another training is refused before anything has changed."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import (
    CLEAN,
    STOCHASTIC,
    Memory,
    Small,
    config,
    same,
    state,
)
from torch import nn

from morex.attacks import PGD
from morex.data import Augment
from morex.models.mixture import Mixture
from morex.perturbations import Linf
from morex.run.checkpoint import FileCheckpoint
from morex.training import CheckpointError, ExpertForMember, Single, TrainingData, train
from morex.training.state import Snapshot


def trained(few: TrainingData, step: int = 3, **changes: Any) -> Snapshot:
    """Return the state of a training at a step."""
    memory = Memory()
    train(Small(), STOCHASTIC, few, config(average=0.9, **changes), checkpoint=memory)
    return memory.saved[step]


def resumed(
    saved: Snapshot, few: TrainingData, model: nn.Module | None = None, **given: Any
) -> None:
    settings = given.pop("config", config(average=0.9))
    objective = given.pop("objective", STOCHASTIC)
    train(model or Small(1), objective, few, settings, checkpoint=Memory(start=saved), **given)


LARGER = PGD(Linf(0.2), steps=1)
OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "optimizer": ({"config": config(average=0.9, optimizer="adamw")}, "optimizer was sgd and is"),
    "batch size": ({"config": config(average=0.9, batch_size=10)}, "batch_size was 20 and is 10"),
    "epochs": ({"config": config(average=0.9, epochs=3)}, "epochs was 2 and is 3"),
    "no average": ({"config": config()}, "average was 0.9 and is None"),
    "learning rate": ({"config": config(average=0.9, learning_rate=0.2)}, "learning_rate was 0.1"),
    "schedule": (
        {"config": config(average=0.9, schedule=((0.0, 1.0), (1.0, 0.0)))},
        "schedule was",
    ),
    "objective": ({"objective": Single((CLEAN,))}, "objective was SideBySide and is Single"),
    "eps": (
        {
            "objective": replace(
                STOCHASTIC, members=(PGD(Linf(0.2), steps=1), STOCHASTIC.members[1])
            )
        },
        "objective.members.0.perturbation.eps was 0.1 and is 0.2",
    ),
    "seed": ({"seed": 5}, "seed was 0 and is 5"),
    "name": ({"name": "other"}, "name was model and is other"),
}


@pytest.mark.parametrize("what", OTHER)
def test_another_training_is_refused(what: str, few: TrainingData) -> None:
    given, said = OTHER[what]
    model = Small(1)
    before = state(model)
    with pytest.raises(CheckpointError, match="the checkpoint is not of this training") as caught:
        resumed(trained(few), few, model, **dict(given))
    assert said in str(caught.value)
    assert "remove it to begin again" in str(caught.value)
    assert same(state(model), before)


def test_other_data_is_refused(few: TrainingData) -> None:
    saved = trained(few)
    rows = torch.arange(len(few.train)).flip(0)
    for data, what in (
        (replace(few, train=few.train.take(rows)), "training images was"),
        (replace(few, validation=few.validation.first(20)), "validation images was"),
        (replace(few, augment=Augment(1, flip=True)), "augment.flip was False and is True"),
    ):
        with pytest.raises(CheckpointError, match=what):
            resumed(saved, data)


def test_other_weights_that_do_not_learn_are_refused(few: TrainingData) -> None:
    def mixture(seed: int) -> Mixture:
        return Mixture({"a": Small(seed), "b": Small(2)}, Small(3, outputs=2))

    memory, settings = Memory(), config(epochs=1)
    how: dict[str, Any] = {"criterion": ExpertForMember(((0,), (1,)))}
    train(mixture(1), STOCHASTIC, few, settings, checkpoint=memory, **how)
    saved = memory.saved[2]
    train(mixture(1), STOCHASTIC, few, settings, checkpoint=Memory(start=saved), **how)
    with pytest.raises(CheckpointError, match="weights that do not learn was"):
        train(mixture(9), STOCHASTIC, few, settings, checkpoint=Memory(start=saved), **how)
    with pytest.raises(CheckpointError, match="criterion was ExpertForMember and is ClassOfImage"):
        train(mixture(1), STOCHASTIC, few, settings, checkpoint=Memory(start=saved))


def changed(change: Callable[[Snapshot], object], saved: Snapshot) -> Snapshot:
    """Return a snapshot without a fingerprint, as older versions wrote it, after a change."""
    values = {name: v for name, v in saved.values.items() if name != "training"}
    found = Snapshot(dict(saved.tensors), copy.deepcopy(values))
    change(found)
    return found


def put(name: str, tensor: torch.Tensor) -> Callable[[Snapshot], object]:
    return lambda s: s.tensors.update({name: tensor})


DAMAGES: dict[str, Callable[[Snapshot], object]] = {
    "a missing weight": lambda s: s.tensors.pop("model/head.weight"),
    "another weight": put("model/other", torch.ones(1)),
    "another shape": put("model/head.bias", torch.ones(3)),
    "another type": put("model/head.bias", torch.ones(10).double()),
    "no average": lambda s: [s.tensors.pop(n) for n in [*s.tensors] if n.startswith("average/")],
    "part of the best": put("best/head.bias", torch.ones(10)),
    "an optimizer of more parameters": put("optimizer/99/momentum_buffer", torch.ones(1)),
    "an optimizer of other shapes": put("optimizer/0/momentum_buffer", torch.ones(7)),
    "no sum of losses": lambda s: s.tensors.pop("loss_sum"),
    "a step too many": lambda s: s.values.update(step=11),
    "a step before the first": lambda s: s.values.update(step=-1),
    "no step": lambda s: s.values.pop("step"),
    "a step in words": lambda s: s.values.update(step="3"),
    "a longer history": lambda s: s.values["history"].append({"epoch": 1, "loss": 1.0}),
    "no best score": lambda s: s.values.pop("best_score"),
    "no time": lambda s: s.values.pop("seconds"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_without_a_fingerprint_is_checked_for_its_form(
    damage: str, few: TrainingData
) -> None:
    saved, model = trained(few), Small(1)
    before = state(model)
    with pytest.raises(CheckpointError, match="the checkpoint is not of this training"):
        resumed(changed(DAMAGES[damage], saved), few, model)
    assert same(state(model), before)


def test_a_state_of_an_older_version_is_resumed(few: TrainingData) -> None:
    whole, model = Small(), Small(1)
    train(whole, STOCHASTIC, few, config(average=0.9))
    for step in (3, 4, 9):
        resumed(changed(lambda s: None, trained(few, step)), few, model)
        assert same(state(model), state(whole))


def test_a_file_keeps_the_fingerprint(tmp_path: Path, few: TrainingData) -> None:
    kept, whole, model = FileCheckpoint(tmp_path, 0, pytest.fail), Small(), Small(1)
    train(whole, STOCHASTIC, few, config(average=0.9))
    kept.save(trained(few))
    train(model, STOCHASTIC, few, config(average=0.9), checkpoint=kept)
    assert same(state(model), state(whole))
    with pytest.raises(CheckpointError, match="seed was 0 and is 1"):
        train(model, STOCHASTIC, few, config(average=0.9), seed=1, checkpoint=kept)
