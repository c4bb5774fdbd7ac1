"""What each hyperparameter does, against closed forms and a plain loop."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_training import (
    CLEAN,
    Invert,
    Small,
    config,
    state,
)
from torch import Tensor, nn

from morex.attacks import WorstOfDraws
from morex.data import Augment, ImageSet
from morex.training import TrainingData, train
from morex.training.config import TrainingConfig
from morex.training.criteria import Criterion
from morex.training.objectives import Batch, Single

# --- closed forms: the loss is <g, w>, so that its gradient is g wherever w is

FACTORS = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""The schedule from 0 to 1, in the middle of each of four steps."""


class Point(nn.Module):
    """Two numbers w that learn."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0]))


@dataclass(frozen=True)
class Slope(Criterion):
    """The loss <g, w>; ``judged`` has the w of every validation."""

    g: tuple[float, float]
    judged: list[list[float]] = field(default_factory=list)

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        return [*model.parameters()]

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return torch.tensor(self.g, dtype=torch.float32) @ model.w

    def hits(self, model: nn.Module, batch: Batch) -> Tensor:
        self.judged.append(model.w.tolist())
        return torch.ones_like(batch.y, dtype=torch.bool)


def blank(count: int) -> TrainingData:
    """Return black images of one class, to train and to validate."""
    labels = torch.zeros(count, dtype=torch.int64)
    images = ImageSet(torch.zeros(count, 3, 2, 2, dtype=torch.uint8), labels, ("a",))
    return TrainingData(images, images)


def descended(criterion: Slope, **changes: Any) -> list[float]:
    """Return w after four steps from (1, -2) with a rate of 0.5 on a schedule from 0 to 1."""
    usual = {"momentum": 0.0, "weight_decay": 0.0, "schedule": ((0, 0), (1, 1))}
    settings = config(**{"epochs": 4, "batch_size": 1, "learning_rate": 0.5} | usual | changes)
    model = Point()
    train(model, Single((CLEAN,)), blank(1), settings, criterion=criterion)
    return model.w.tolist()


def test_sgd_follows_the_schedule_at_the_middle_of_each_step() -> None:
    way = 0.5 * sum(FACTORS)  # 1, but 0.75 at the start of each step and 1.25 at its end
    assert descended(Slope((3, -4))) == pytest.approx([1 - 3 * way, -2 + 4 * way])


def test_momentum_adds_up_what_came_before() -> None:
    speeds = (1, 1.5, 1.75, 1.875)  # v <- v / 2 + 1
    way = 0.5 * sum(f * v for f, v in zip(FACTORS, speeds, strict=True))
    found = descended(Slope((3, -4)), momentum=0.5)
    assert found == pytest.approx([1 - 3 * way, -2 + 4 * way])


def test_nesterov_steps_look_ahead_along_the_velocity() -> None:
    speeds = (1.5, 1.75, 1.875, 1.9375)  # v <- v / 2 + 1, and the step is 1 + v / 2
    way = 0.5 * sum(f * v for f, v in zip(FACTORS, speeds, strict=True))
    found = descended(Slope((3, -4)), momentum=0.5, nesterov=True)
    assert found == pytest.approx([1 - 3 * way, -2 + 4 * way])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_shrinks_the_weights_in_proportion_to_the_rate(optimizer: str) -> None:
    left = math.prod(1 - 0.5 * f * 0.2 for f in FACTORS)  # 0.82
    found = descended(Slope((0, 0)), optimizer=optimizer, weight_decay=0.2)
    assert found == pytest.approx([left, -2 * left])


def test_adamw_steps_have_the_length_of_the_rate_whatever_the_gradient() -> None:
    way = 0.5 * sum(FACTORS)
    found = descended(Slope((3, -4)), optimizer="adamw")
    assert found == pytest.approx([1 - way, -2 + way], abs=1e-6)


@pytest.mark.parametrize(("clip_norm", "length"), [(None, 5), (5.1, 5), (1, 1), (0.2, 0.2)])
def test_a_gradient_that_is_longer_than_clip_norm_is_scaled_down_to_it(
    clip_norm: float | None, length: float
) -> None:
    way = 0.5 * sum(FACTORS) * length
    found = descended(Slope((3, -4)), clip_norm=clip_norm)
    assert found == pytest.approx([1 - 0.6 * way, -2 + 0.8 * way])


def test_averaged_weights_are_validated_and_returned_and_do_not_change_the_steps() -> None:
    criterion = Slope((3, -4))
    found = descended(criterion, average=0.3)
    w, average, expected = [1.0, -2.0], [1.0, -2.0], []
    for t, f in enumerate(FACTORS, start=1):
        w = [w[0] - 0.5 * f * 3, w[1] + 0.5 * f * 4]
        d = min(0.3, (1 + t) / (10 + t))
        average = [d * a + (1 - d) * now for a, now in zip(average, w, strict=True)]
        expected.append(pytest.approx(average))
    assert criterion.judged == expected
    assert found == expected[-1]


def test_the_loss_of_a_training_has_smoothed_labels_and_its_validation_plain_ones(
    few: TrainingData,
) -> None:
    """One step on all images at a rate of nearly 0: the history's loss is that of the start."""

    def first(label_smoothing: float) -> dict[str, Any]:
        size = len(few.train)
        settings = config(
            epochs=1, batch_size=size, learning_rate=1e-9, label_smoothing=label_smoothing
        )
        data = replace(few, augment=Augment())
        return train(Small(), Single((CLEAN,)), data, settings).history[0]

    plain, smoothed = first(0.0), first(0.25)
    with torch.no_grad():
        logs = Small().train()(few.train.pixels(slice(None))).log_softmax(1)
    spread = -logs.mean().item()  # over all images and classes
    assert plain["loss"] != pytest.approx(spread, rel=1e-2)
    assert smoothed["loss"] == pytest.approx(0.75 * plain["loss"] + 0.25 * spread, rel=1e-4)
    assert smoothed["validation"] == plain["validation"]


# --- with a network


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("average", [None, 0.7])
@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_steps_schedule_clipping_and_average_agree_with_a_plain_loop(
    optimizer: str, average: float | None, clip_norm: float | None, few: TrainingData
) -> None:
    """Batches as large as the training set: the order does not matter."""
    steps, rate, decay = 6, 0.05, 0.2
    schedule = ((0.0, 0.2), (0.5, 1.0), (1.0, 0.0))
    factors = [0.2 + 0.8 * (k + 0.5) / 3 if k < 3 else (5.5 - k) / 3 for k in range(6)]

    expected = Small()
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, rate, momentum=0.8, weight_decay=decay),
        "adamw": lambda p: torch.optim.AdamW(p, rate, weight_decay=decay),
    }
    by_hand = kinds[optimizer](expected.parameters())
    x, y = 1 - few.train.pixels(slice(None)), few.train.labels
    averages, losses = state(expected), []
    for step in range(steps):
        by_hand.zero_grad()
        loss = F.cross_entropy(expected(x), y)
        loss.backward()
        losses.append(loss.item())
        if clip_norm:
            nn.utils.clip_grad_norm_(expected.parameters(), clip_norm)
        by_hand.param_groups[0]["lr"] = rate * factors[step]
        by_hand.step()
        d = min(average or 0, (2 + step) / (11 + step))
        for name, t in expected.state_dict().items():
            averages[name] = d * averages[name] + (1 - d) * t if t.is_floating_point() else t

    found = Small()
    settings = config(
        epochs=steps,
        batch_size=len(y),
        optimizer=optimizer,
        learning_rate=rate,
        momentum=0.8,
        weight_decay=decay,
        schedule=schedule,
        clip_norm=clip_norm,
        average=average,
        validate_every=steps,
    )
    fit = train(found, Single((WorstOfDraws(Invert()),)), replace(few, augment=Augment()), settings)
    for name, t in found.state_dict().items():
        torch.testing.assert_close(t, averages[name], rtol=1e-3, atol=1e-5)
    assert [e["loss"] for e in fit.history] == pytest.approx(losses, rel=1e-3)
    assert [e["learning_rate"] for e in fit.history] == pytest.approx(
        [rate * factor for factor in factors]
    )


def test_the_schedule_of_the_paper() -> None:
    factor = TrainingConfig().factor
    for progress, expected in [
        (0, 0),
        (0.2, 0.5),
        (0.4, 1),
        (0.6, 0.525),
        (0.8, 0.05),
        (0.9, 0.025),
        (1, 0),
    ]:
        assert factor(progress) == pytest.approx(expected, abs=1e-12)


def test_a_schedule_may_jump() -> None:
    factor = config(schedule=((0, 1), (0.5, 1), (0.5, 0.1), (1, 0.1))).factor
    assert [factor(p) for p in (0, 0.3, 0.501, 1)] == pytest.approx([1, 1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"batch_size": 0}, "at least 1"),
        ({"validate_every": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, got nan"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\).*got 1\.0"),
        ({"weight_decay": -0.1}, r"weight_decay at least 0, got 0\.9 and -0\.1"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov needs a momentum above 0, got 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1\.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\), got -0\.1"),
        ({"clip_norm": 0.0}, "clip_norm must be positive, got 0.0"),
        ({"average": 1.0}, r"average must be in \(0, 1\), got 1\.0"),
        ({"schedule": ()}, "schedule must go from 0 to 1"),
        ({"schedule": ((0, 1), (0.5, 0))}, "schedule must go from 0 to 1"),
        ({"schedule": ((0.1, 1), (1, 0))}, "schedule must go from 0 to 1"),
        ({"schedule": ((0, 1), (0.7, 1), (0.3, 1), (1, 0))}, "schedule must go from 0 to 1"),
    ],
)
def test_bad_configurations_raise(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**change)


def test_fractions_of_an_epoch_are_rounded_to_steps() -> None:
    for epochs, steps in ((0.01, 1), (0.3, 2), (0.75, 4), (1.6, 8), (2, 10)):  # 5 steps an epoch
        assert config(epochs=epochs).steps(109) == steps
    assert config().steps(19) == 0


def test_the_loss_of_a_last_epoch_that_is_shorter_is_the_mean_of_its_steps() -> None:
    settings = config(epochs=1.6, batch_size=1, learning_rate=1e-9)  # 5 steps, then 3
    fit = train(Point(), Single((CLEAN,)), blank(5), settings, criterion=Slope((3, -4)))
    assert [entry["epoch"] for entry in fit.history] == [1, 2]
    assert [entry["loss"] for entry in fit.history] == pytest.approx([11, 11])  # 3 * 1 + 4 * 2
