import copy
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.attacks import PGD, Attack, Model, Passes, WorstOfDraws
from morex.core import precision
from morex.data import Augment, ImageSet, load_data
from morex.models.mixture import Mixture
from morex.models.resnet import NetworkConfig, ResNet
from morex.perturbations import Clean, Linf, Snow, Transform
from morex.training import NotFiniteError, Progress, TrainingData, train
from morex.training.config import TrainingConfig
from morex.training.criteria import ClassOfImage, ExpertForMember
from morex.training.ema import MovingAverage
from morex.training.objectives import Alternate, Average, Batch, SideBySide, Single
from morex.training.state import Snapshot, restore_optimizer

CLEAN = WorstOfDraws(Clean())


@dataclass(frozen=True)
class Invert(Transform):
    """White on black becomes black on white."""

    def scaled(self, factor: float) -> "Invert":
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        return 1 - x


class Small(nn.Module):
    """A convolution, BatchNorm and a linear layer called ``head``."""

    def __init__(self, seed: int = 0, outputs: int = 10) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)
            self.head = nn.Linear(8 * 3 * 3, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))).flatten(1))


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    """800 digits to train on and 120 to choose models with."""
    train_set, validation = load_data("digits").train.split(0.2, 0)
    return TrainingData(train_set.sample(800, 0), validation.sample(120, 0))


@pytest.fixture(scope="module")
def few(digits: TrainingData) -> TrainingData:
    """100 digits, shifted at random, and 30: five steps of 20 an epoch."""
    return TrainingData(digits.train.sample(100, 1), digits.validation.sample(30, 1), Augment(1))


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 2, "batch_size": 20, "precision": "fp32"} | changes)


def network(seed: int = 0) -> nn.Module:
    shape = NetworkConfig("resnet10", 4, 10, (8, 8), (0.3,) * 3, (0.37,) * 3)
    return ResNet(shape, seed=seed).to(memory_format=torch.channels_last)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def accuracy(model: nn.Module, data: ImageSet) -> float:
    with torch.no_grad():
        return (model(data.pixels(slice(None))).argmax(1) == data.labels).float().mean().item()


@dataclass(frozen=True)
class Spy(Attack):
    """Leaves images as they are and shows what it is called with."""

    look: Callable[[Model, Tensor, torch.Generator], Tensor | None] = lambda *_: None
    perturbation: Transform = Clean()  # noqa: RUF009

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        changed = self.look(model, x, generator)
        return x if changed is None else changed


@dataclass
class Memory:
    """A checkpoint in memory; what it keeps has passed through plain, contiguous tensors."""

    every: int = 1
    saved: list[Snapshot] = field(default_factory=list)
    start: Snapshot | None = None
    steps: int = 0

    def load(self) -> Snapshot | None:
        return self.start

    def due(self) -> bool:
        self.steps += 1
        return self.steps % self.every == 0

    def save(self, snapshot: Snapshot) -> None:
        tensors = {k: t.detach().contiguous().clone() for k, t in snapshot.tensors.items()}
        self.saved.append(Snapshot(tensors, copy.deepcopy(snapshot.values)))


# --- the same bits -------------------------------------------------------------------------------

STOCHASTIC = SideBySide((PGD(Linf(0.1), steps=1), WorstOfDraws(Snow(darkness=2.0))))


def test_seed_and_name_decide_every_bit(few: TrainingData) -> None:
    def run(**how: Any) -> dict[str, Tensor]:
        model = Small()
        train(model, STOCHASTIC, few, config(epochs=1), **how)
        return state(model)

    first = run(seed=1, name="a")
    assert same(first, run(seed=1, name="a"))
    assert not same(first, run(seed=2, name="a"))
    assert not same(first, run(seed=1, name="b"))


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
        {"average": 0.9, "validate_every": 2},
        {"average": 0.9, "validate_every": None},
        {"optimizer": "adamw", "learning_rate": 0.01, "average": 0.9, "clip_norm": 0.5},
    ],
    ids=["sgd", "sgd-average", "sgd-not-validated", "adamw-average-clip"],
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


def test_all_that_an_optimizer_keeps_comes_back_on_the_device_of_its_parameter() -> None:
    moments = {"exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2), "step": torch.tensor(3.0)}
    saved = Snapshot({f"optimizer/0/{name}": t for name, t in moments.items()}, {})
    parameter = nn.Parameter(torch.zeros(2, device="meta"))  # stands for an accelerator
    optimizer = torch.optim.AdamW([parameter], fused=False)
    restore_optimizer(optimizer, saved)
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


# --- the step, by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("average", [None, 0.7])
@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_steps_schedule_clipping_and_average_agree_with_a_plain_loop(
    optimizer: str, average: float | None, clip_norm: float | None, few: TrainingData
) -> None:
    """Batches as large as the training set: the order does not matter."""
    steps, rate, decay = 6, 0.05, 0.01
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


def test_the_moving_average_is_that_of_the_formula() -> None:
    followed = {"w": torch.tensor([1.0, -2.0]), "count": torch.tensor(3)}
    average = MovingAverage(followed, 0.3)
    values, expected = [5.0, 7.0, -1.0, 2.0], 1.0
    for t, value in enumerate(values, start=1):
        followed["w"][0], followed["count"] = value, followed["count"].fill_(t)
        average.update()
        d = min(0.3, (1 + t) / (10 + t))  # 2/11, 3/12, then 0.3
        expected = d * expected + (1 - d) * value
        assert average.shadow["w"].tolist() == pytest.approx([expected, -2.0])
        assert average.shadow["count"] == t
    assert followed["w"][0] == 2.0  # is followed, not changed


def test_averages_are_in_place_for_a_block_only() -> None:
    followed = {"w": torch.tensor([1.0])}
    average = MovingAverage(followed, 0.9)
    followed["w"].fill_(2.0)

    def interrupted() -> None:
        with average.applied():
            assert followed["w"] == 1.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert followed["w"] == 2.0


# --- which model comes back ----------------------------------------------------------------------


def test_the_best_model_on_validation_comes_back(digits: TrainingData) -> None:
    blow_up = ((0.0, 1.0), (0.6, 1.0), (0.6, 300.0), (1.0, 300.0))
    data = TrainingData(digits.train.sample(200, 0), digits.validation)
    model = Small()
    fit = train(
        model, Single((CLEAN,)), data, config(epochs=5, learning_rate=0.02, schedule=blow_up)
    )
    scores = [entry["score"] for entry in fit.history]
    assert scores[-1] < max(scores) - 0.1
    assert not model.training
    assert accuracy(model, data.validation) == pytest.approx(max(scores))


def test_of_equally_good_models_the_last_comes_back(few: TrainingData) -> None:
    class Content(ClassOfImage):
        def hits(self, model: nn.Module, batch: Batch) -> Tensor:
            return torch.ones_like(batch.y, dtype=torch.bool)

    model = Small()
    fit = train(model, Single((CLEAN,)), few, config(epochs=3), criterion=Content())
    assert [entry["score"] for entry in fit.history] == [1.0] * 3
    assert model.norm.num_batches_tracked == 15


def test_validation_is_of_the_averages(few: TrainingData) -> None:
    model = Small()
    settings = config(epochs=1, average=0.9999, learning_rate=0.5)
    fit = train(model, Single((CLEAN,)), few, settings)
    assert fit.history[0]["score"] == pytest.approx(accuracy(model, few.validation))


def test_models_are_chosen_on_plain_validation_images_under_every_member(
    few: TrainingData,
) -> None:
    @dataclass(frozen=True)
    class Mark:
        """Instead of an augmentation."""

        def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
            return x.clone().fill_(0.25)

    seen: list[Tensor] = []
    members = (Spy(lambda _m, x, _g: seen.append(x.clone())), WorstOfDraws(Invert()))
    marked = replace(few, augment=Mark())  # type: ignore[arg-type]
    model = Small()
    fit = train(model, Average(members), marked, config(epochs=2, batch_size=10))
    in_training = [x for x in seen if (x == 0.25).all()]
    assert [len(x) for x in in_training] == [10] * 20
    validated = torch.cat([x for x in seen if not (x == 0.25).all()])
    pixels = few.validation.pixels(slice(None))
    assert torch.equal(validated, torch.cat([pixels, pixels]))
    for entry in fit.history:
        assert len(entry["validation"]) == 2
        assert entry["score"] == pytest.approx(sum(entry["validation"]) / 2)
    best = max(fit.history, key=lambda entry: (entry["score"], entry["epoch"]))
    with torch.no_grad():
        hits = [(model(x).argmax(1) == few.validation.labels) for x in (pixels, 1 - pixels)]
    assert best["validation"] == pytest.approx([h.float().mean().item() for h in hits])


def test_validation_draws_the_same_every_time(few: TrainingData) -> None:
    drawn: list[Tensor] = []

    def look(model: Model, x: Tensor, generator: torch.Generator) -> None:
        if len(x) == 30:
            drawn.append(torch.rand(3, generator=generator))

    train(Small(), Single((Spy(look),)), few, config(epochs=3))
    assert len(drawn) == 3
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_the_last_epoch_is_always_validated(few: TrainingData) -> None:
    fit = train(Small(), Single((CLEAN,)), few, config(epochs=5, validate_every=2))
    assert [entry["epoch"] for entry in fit.history] == [1, 2, 3, 4, 5]
    assert ["score" in entry for entry in fit.history] == [False, True, False, True, True]


def test_without_validation_the_last_weights_are_kept_averaged_if_they_are_averaged(
    few: TrainingData,
) -> None:
    once = config(epochs=3, average=0.9, validate_every=3)  # has but one to choose
    chosen, last = network(), network()
    train(chosen, STOCHASTIC, few, once)
    fit = train(last, STOCHASTIC, few, replace(once, validate_every=None))
    assert not any("score" in entry or "validation" in entry for entry in fit.history)
    assert same(state(last), state(chosen))


# --- how the step is made ------------------------------------------------------------------------


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
    train(watched, Single((Spy(look),)), few, config(epochs=1))
    step = [("attack", False, False), ("forward", False, False), ("forward", True, True)]
    validation = [("attack", False, False), ("forward", False, False), ("forward", False, False)]
    assert events == step * 5 + validation
    assert all(p.requires_grad for p in watched.parameters())


def test_every_epoch_shuffles_all_images_anew(few: TrainingData) -> None:
    batches: list[Tensor] = []

    def look(model: Model, x: Tensor, _: torch.Generator) -> None:
        if len(x) == 20:
            batches.append(x.flatten(1).sum(1))

    train(Small(), Single((Spy(look),)), replace(few, augment=Augment()), config(epochs=2))
    first, second = torch.cat(batches[:5]), torch.cat(batches[5:])
    expected = few.train.pixels(slice(None)).flatten(1).sum(1)
    for epoch in (first, second):
        torch.testing.assert_close(epoch.sort().values, expected.sort().values)
        assert not torch.allclose(epoch, expected)
    assert not torch.allclose(first, second)


def test_every_step_has_a_generator_of_its_own(few: TrainingData) -> None:
    drawn: set[float] = set()

    def look(model: Model, x: Tensor, generator: torch.Generator) -> None:
        drawn.add(torch.rand((), generator=generator).item())

    train(Small(), Single((Spy(look),)), few, config(epochs=2, validate_every=2))
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


# --- it learns -----------------------------------------------------------------------------------


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


# --- mixtures ------------------------------------------------------------------------------------


def mixture() -> Mixture:
    return Mixture({"a": Small(1), "b": Small(2)}, Small(3, outputs=2))


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}


def test_a_mixture_learns_with_gate_and_last_layers_alone(few: TrainingData) -> None:
    model = mixture()
    before = state(model)
    train(model, SideBySide((CLEAN, PGD(Linf(0.1), steps=1))), few, config(epochs=1))
    learnt = {name for name in before if name.startswith("gate.") or ".head." in name}
    assert changed(before, model) == learnt


def test_attacks_see_the_whole_mixture(few: TrainingData) -> None:
    seen: list[Model] = []
    model = mixture()
    train(model, Alternate((Spy(lambda m, *_: seen.append(m)),)), few, config(epochs=1))
    assert len(seen) == 6
    assert all(m is model for m in seen)


def test_the_warm_up_teaches_the_gate_alone_to_name_the_perturbation(
    digits: TrainingData,
) -> None:
    model = mixture()
    before = state(model)
    # the first member is for the second expert
    criterion, objective = (
        ExpertForMember(((1,), (0,))),
        SideBySide((CLEAN, WorstOfDraws(Invert()))),
    )
    assert {id(p) for p in criterion.parameters(model)} == {id(p) for p in model.gate.parameters()}
    fit = train(model, objective, digits, config(epochs=1), criterion=criterion)
    assert {name.split(".")[0] for name in changed(before, model)} == {"gate"}
    assert fit.history[-1]["score"] > 0.98
    x = digits.validation.pixels(slice(None))
    with torch.no_grad():
        assert (model.gate_weights(x)[:, 1] > 0.5).float().mean() > 0.95
        assert (model.gate_weights(1 - x)[:, 0] > 0.5).float().mean() > 0.95
    assert [p.requires_grad for p in model.parameters()] == [
        p.requires_grad for p in mixture().parameters()
    ]


def test_experts_that_are_right_together_share_the_weight(few: TrainingData) -> None:
    model, config_ = mixture(), config(epochs=1)
    criterion = ExpertForMember(((0, 1), (1,)))
    batch = Batch(few.train.pixels(slice(0, 4)), few.train.labels[:4], torch.tensor([0, 0, 1, 1]))
    scores = model.gate(batch.x).detach()
    expected = torch.nn.functional.cross_entropy(scores[2:], torch.ones(2).long()) / 2
    torch.testing.assert_close(criterion.loss(model, batch).detach(), expected)  # both: certain
    assert criterion.hits(model, batch)[:2].all()
    fit = train(
        model, SideBySide((CLEAN, WorstOfDraws(Invert()))), few, config_, criterion=criterion
    )
    assert fit.history


def test_only_the_gate_of_a_mixture_can_be_warmed_up(few: TrainingData) -> None:
    with pytest.raises(TypeError, match="only a Mixture has a gate to warm up, got a Small"):
        train(Small(), Single((CLEAN,)), few, config(), criterion=ExpertForMember(((0,),)))
    for wrong in (((2,),), ((-1,),), ((),)):
        with pytest.raises(ValueError, match="chooses among 2: expected indices below that"):
            train(mixture(), Single((CLEAN,)), few, config(), criterion=ExpertForMember(wrong))


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_raises_and_the_last_checkpoint_is_good(
    few: TrainingData,
) -> None:
    steps = 0

    def poison(model: Model, x: Tensor, _: torch.Generator) -> Tensor | None:
        nonlocal steps
        steps += len(x) == 20
        return x * torch.nan if steps == 8 and len(x) == 20 else None

    memory = Memory(every=3)
    with pytest.raises(
        NotFiniteError, match=r"net: not finite: loss at step 7 of 10 \(epoch 2, .*Single over 1"
    ):
        train(Small(), Single((Spy(poison),)), few, config(), name="net", checkpoint=memory)
    assert [s.values["step"] for s in memory.saved] == [3, 6]
    assert all(t.isfinite().all() for t in memory.saved[-1].tensors.values())
    healed, straight = Small(seed=9), Small()
    again = Memory(start=memory.saved[-1])
    train(healed, Single((Spy(),)), few, config(), name="net", checkpoint=again)
    train(straight, Single((Spy(),)), few, config(), name="net")
    assert same(state(healed), state(straight))


def test_weights_that_are_not_finite_are_never_kept(few: TrainingData) -> None:
    class Steep(Small):
        """A finite loss with an infinite gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.zero.sqrt() * torch.arange(10)

    memory = Memory()
    with pytest.raises(NotFiniteError, match="weights after the update at step 0 of 1"):
        train(
            Steep(),
            Single((CLEAN,)),
            few,
            config(epochs=1, batch_size=100),
            checkpoint=memory,
        )
    assert not memory.saved


def test_too_large_a_batch_raises(few: TrainingData) -> None:
    message = "net: 100 training images are less than a batch of 101; lower batch_size"
    with pytest.raises(ValueError, match=message):
        train(Small(), Single((CLEAN,)), few, config(batch_size=101), name="net")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"batch_size": 0}, "at least 1"),
        ({"validate_every": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be positive, got nan"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\).*got 1\.0"),
        ({"weight_decay": -0.1}, r"weight_decay at least 0, got 0\.9 and -0\.1"),
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
