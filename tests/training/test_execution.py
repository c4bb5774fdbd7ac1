"""Steps that are captured do what steps that are called do.

A stand-in takes the place of a GPU's graphs (``recording``); the last test needs a GPU.
"""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from recording import Refusing, StandIn, followed
from small_training import Memory, Small, same, state
from torch import Tensor, nn
from torch._dynamo.utils import counters

from morex.attacks import (
    PGD,
    Attack,
    AwayFromChoices,
    AwayFromOwnAnswers,
    Model,
    NoisyFGSM,
    SearchAround,
    WorstOfDraws,
)
from morex.core.asking import as_on_an_accelerator
from morex.data import Augment, load_data
from morex.models.architectures import RESNETS, PostActivation
from morex.models.compiled import compiled
from morex.models.extend import regrouped
from morex.models.mixture import Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.perturbations import L1, L2, Around, Clean, Fog, Linf, Snow, Transform
from morex.training import (
    Alternate,
    Average,
    Batch,
    ClassOfImage,
    Criterion,
    ExpertForMember,
    LogitPairing,
    Max,
    NewExperts,
    Objective,
    OneDrawn,
    PerturbedWeights,
    SideBySide,
    Single,
    Trades,
    TrainingConfig,
    TrainingData,
    execution,
    train,
)
from morex.training.distillation import AnswersOfTeacher
from morex.training.execution import Captured, CudaGraphs, Recorder, Run, recorder_on
from morex.training.loop import Training, _finish

CLEAN, SNOW, FOG = (WorstOfDraws(t) for t in (Clean(), Snow(2.0), Fog(0.1, 0.6)))
LINF, TWO, ONE = PGD(Linf(0.1), 2), PGD(L2(0.5), 2, keep="last"), PGD(L1(2.0), 2)
BOTH = SearchAround(Around(Fog(0.1, 0.6), Linf(0.1)), LINF)
UNION = PGD((Linf(0.1), L2(0.5)), 2)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ask the host nothing, and make the networks tiny."""
    monkeypatch.setitem(RESNETS, "tiny", PostActivation("basic", (1, 1)))
    with as_on_an_accelerator():
        yield


def network(seed: int = 0, outputs: int = 10) -> ResNet:
    shape = NetworkConfig("tiny", 4, outputs, (8, 8), (0.3,) * 3, (0.37,) * 3)
    return ResNet(shape, seed=seed).to(memory_format=torch.channels_last)


def mixture() -> Mixture:
    return Mixture({name: network(i) for i, name in enumerate("abc")}, network(3, 3))


def extended() -> nn.Module:
    return regrouped(mixture(), "abcd", {"d": network(4)})


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Four steps of 13 an epoch; 13 is divided by no number of slots."""
    digits = load_data("digits").train
    few, validation = digits.sample(60, 0), digits.sample(20, 1)
    return TrainingData(few, validation, Augment(1, True))


def settings(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 3, "batch_size": 13, "precision": "fp32"} | changes)


def begun(
    recorder: Recorder | None,
    data: TrainingData,
    objective: Objective,
    make: Callable[[], nn.Module] = network,
    criterion: Criterion = ClassOfImage(),  # noqa: B008
    said: list[str] | None = None,
    **changes: Any,
) -> Training:
    notice = ([] if said is None else said).append
    work = Training(
        make(),
        objective,
        data,
        settings(**changes),
        criterion,
        seed=3,
        name="model",
        recorder=recorder,
        notice=notice,
    )
    return followed(work, recorder) if isinstance(recorder, StandIn) else work


def check_same_as_called(data: TrainingData, *what: Any, turns: int, **changes: Any) -> None:
    said, stand_in = list[str](), StandIn()
    captured = begun(stand_in, data, *what, said=said, **changes)
    called = begun(Refusing(), data, *what, **changes)
    fits = [_finish(work, None, None) for work in (captured, called)]
    assert not said
    assert stand_in.recorded == turns
    assert stand_in.replayed == captured.steps
    assert same(state(captured.model), state(called.model))
    assert fits[0].history == fits[1].history


AVERAGED = {"average": 0.9, "clip_norm": 1.0}
ADAM = {"optimizer": "adamw", "learning_rate": 0.01}


def short(part: object) -> str:
    """Return the kinds of an objective and of its members."""
    members = part.members if isinstance(part, Objective) else ()
    return "-".join([type(part).__name__, *(type(m.perturbation).__name__ for m in members)])


@pytest.mark.parametrize(
    ("objective", "turns"),
    [
        (Single((CLEAN,)), 1),
        (Single((LINF,)), 1),
        (Single((TWO,)), 1),
        (Single((ONE,)), 1),
        (Single((UNION,)), 1),
        (Single((NoisyFGSM(Linf(0.1)),)), 1),
        (Single((WorstOfDraws(Snow(2.0), 2),)), 1),
        (Max((LINF, TWO, FOG, SNOW)), 1),
        (Average((LINF, TWO, FOG, SNOW)), 1),
        (OneDrawn((LINF, CLEAN)), 2),
        (OneDrawn((LINF, CLEAN), by_error=True), 2),
        (Alternate((LINF, CLEAN, SNOW)), 3),
        (SideBySide((CLEAN, LINF, TWO, FOG, SNOW, BOTH), shares=(2, 1, 1, 1, 1, 1)), 7),
    ],
    ids=short,
)
def test_a_captured_training_of_a_network_ends_with_the_bits_of_a_called_one(
    objective: Objective, turns: int, data: TrainingData
) -> None:
    check_same_as_called(data, objective, turns=turns, **AVERAGED)


@pytest.mark.parametrize(
    "changes",
    [{}, {"nesterov": True}, {"momentum": 0.0}, ADAM, ADAM | AVERAGED, {"precision": "bf16"}],
    ids=repr,
)
def test_every_optimizer_is_captured(changes: dict[str, Any], data: TrainingData) -> None:
    check_same_as_called(data, Single((LINF,)), turns=1, **changes)


def test_logit_pairing_and_natural_training_are_captured(data: TrainingData) -> None:
    pairing, both = LogitPairing(2.0), Average((LINF, ONE))
    changes = {"gradient_projection": 0.4, "clip_norm": 1.0}
    check_same_as_called(data, both, network, pairing, turns=1, **changes)


def test_mixtures_and_gates_are_captured(data: TrainingData) -> None:
    misled = tuple(replace(attack, loss=AwayFromChoices((0,))) for attack in (LINF, TWO))
    for objective, make, criterion in (
        (SideBySide((CLEAN, LINF, FOG)), mixture, ClassOfImage()),
        (SideBySide((CLEAN, LINF, FOG)), mixture, ExpertForMember(((0,), (1,), (2,)))),
        (SideBySide((*misled, FOG)), mixture, ExpertForMember(((0,), (0, 1), (2,)))),
        (SideBySide((CLEAN, LINF, SNOW)), extended, NewExperts(((0,), (0,), (1,)))),
    ):
        check_same_as_called(data, objective, make, criterion, turns=3, **ADAM)
    away, perturbed = Single((AwayFromOwnAnswers(LINF),)), PerturbedWeights(0.01, warm_up=1.0)
    check_same_as_called(data, away, network, Trades(), turns=2, awp=perturbed, **AVERAGED)
    distilled = AnswersOfTeacher(mixture())
    check_same_as_called(data, Single((LINF,)), network, distilled, turns=1)


class InPlace(Small):
    """A network that changes its images, as those of other people may."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.3))


def test_a_network_may_change_its_images_in_place(data: TrainingData) -> None:
    for objective in (Single((CLEAN,)), Single((LINF,))):
        check_same_as_called(data, objective, InPlace, turns=1)


class OnACopy(Small):
    """The same network, which leaves its images alone."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 0.3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"awp": PerturbedWeights(0.05)}, {"gradient_projection": 0.5, "average": None}],
    ids=["plain", "awp", "projection"],
)
def test_such_a_network_learns_what_it_would_on_copies(
    data: TrainingData, changes: dict[str, Any]
) -> None:
    works = [begun(None, data, Single((CLEAN,)), kind, **changes) for kind in (InPlace, OnACopy)]
    for work in works:
        for _ in range(3):
            work.advance()
    assert same(*(state(work.model) for work in works))
    copies = [work.state.natural.model for work in works if work.state.natural]
    assert not copies or same(*map(state, copies))


def test_such_a_network_learns_trades_with_awp_as_on_copies(data: TrainingData) -> None:
    """AWP needs x and x' twice."""
    away, awp = Single((AwayFromOwnAnswers(LINF),)), PerturbedWeights(0.05)
    one, other = (begun(None, data, away, k, Trades(), awp=awp) for k in (InPlace, OnACopy))
    for work in (one, other):
        for _ in range(3):
            work.advance()
    assert same(state(one.model), state(other.model))


def test_captured_steps_train_as_those_of_a_cpu(data: TrainingData) -> None:
    """Numbers in tensors and fused optimizers change rounding only."""
    for changes in (AVERAGED, {"nesterov": True}, ADAM | AVERAGED):
        works = [begun(r, data, Single((CLEAN,)), **changes) for r in (StandIn(), None)]
        for work in works:
            for _ in range(6):
                work.advance()
        for part in ("model", "average"):
            one, other = (work.snapshot().part(part) for work in works)
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_captured_training_resumes_with_the_same_bits(data: TrainingData) -> None:
    objective = SideBySide((LINF, SNOW))
    for changes in (AVERAGED, ADAM | AVERAGED):
        memory = Memory()
        whole = begun(StandIn(), data, objective, **changes)
        _finish(whole, memory, None)
        for saved in (memory.saved[0], memory.saved[5]):
            resumed = begun(StandIn(), data, objective, lambda: network(9), **changes)
            _finish(resumed, Memory(start=saved), None)
            assert same(state(resumed.model), state(whole.model))
            assert resumed.state.history == whole.state.history


def test_a_first_loss_that_is_not_finite_is_dated(data: TrainingData) -> None:
    work = begun(StandIn(), data, Single((CLEAN,)))
    for step in range(6):
        if step == 4:
            work.model.head.weight.data.fill_(torch.nan)
        work.advance()
    assert work.state.not_finite() == ("loss", 4)


# --- steps that cannot be captured ---------------------------------------------------------------


class Own(Transform):
    """A transform whose function is given; it multiplies the images."""

    def __init__(self, factor: Callable[[Tensor], Any]) -> None:
        object.__setattr__(self, "factor", factor)

    def scaled(self, factor: float) -> "Own":
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        return (x * self.factor(x)).clamp(0, 1)


def multiplied(factor: Callable[[Tensor], Any]) -> Attack:
    return WorstOfDraws(Own(factor))


ASKING = multiplied(lambda x: x.mean().item())


@pytest.mark.parametrize(
    ("factor", "why"),
    [
        (lambda x: x.mean().item(), "waits"),
        (lambda x: x[x > 0.5].mean(), "waits"),
        (lambda x: torch.tensor([0.5]), "waits"),
        (lambda x: x.sum().numpy().item(), "waits"),
        (lambda x: random.random(), "random numbers on the host"),
        (lambda x: float(np.random.rand()), "random numbers on the host"),
        (lambda x: torch.rand(()), "random numbers on the host"),
    ],
)
def test_steps_that_cannot_be_captured_are_called_and_the_reason_is_said(
    factor: Callable[[Tensor], Any], why: str, data: TrainingData
) -> None:
    said, stand_in = list[str](), StandIn()
    work = begun(stand_in, data, Single((multiplied(factor),)), said=said)
    for _ in range(3):
        work.advance()
    assert work.state.step == 3
    assert not stand_in.recorded
    (text,) = said
    assert "not captured" in text
    assert why in text
    assert "\n" not in text


@pytest.mark.parametrize("changes", [AVERAGED, ADAM], ids=repr)
@pytest.mark.parametrize(
    "objective",
    [Single((ASKING,)), Alternate((LINF, ASKING)), Alternate((ASKING, LINF))],
    ids=short,
)
def test_what_a_failed_capture_changed_is_put_back(
    objective: Objective, changes: dict[str, Any], data: TrainingData
) -> None:
    tried, called = (begun(r, data, objective, **changes) for r in (StandIn(), Refusing()))
    for work in (tried, called):
        _finish(work, None, None)
    assert same(state(tried.model), state(called.model))
    assert tried.state.history == called.state.history


class FailsAfter(StandIn):
    """Fails after it has run the step, at a point that is given."""

    def __init__(self, point: str, error: BaseException, times: int = 1) -> None:
        super().__init__()
        self.point, self.error, self.times = point, error, times

    def warm_up(self, run: Run) -> None:
        super().warm_up(run)
        self._fail("warm_up")

    def record(self, run: Run, generator: torch.Generator) -> Run:
        replay = super().record(run, generator)
        self._fail("record")
        return replay

    def _fail(self, point: str) -> None:
        if point == self.point and self.times:
            self.times -= 1
            raise self.error


@pytest.mark.parametrize("point", ["warm_up", "record"])
@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=repr)
def test_a_training_goes_on_from_where_it_was_when_a_capture_was_stopped(
    point: str, error: BaseException, data: TrainingData
) -> None:
    stopped = begun(FailsAfter(point, error), data, Single((LINF,)), **AVERAGED)
    with suppress(KeyboardInterrupt):
        stopped.advance()
    while stopped.state.step < 5:
        stopped.advance()
    called = begun(Refusing(), data, Single((LINF,)), **AVERAGED)
    for _ in range(5):
        called.advance()
    assert same(stopped.snapshot().part("model"), called.snapshot().part("model"))


class FailsSecond(StandIn):
    """Records one function only."""

    def record(self, run: Run, generator: torch.Generator) -> Run:
        if self.recorded:
            raise RuntimeError("no graph")
        return super().record(run, generator)


def test_graphs_are_not_used_after_a_failed_capture(data: TrainingData) -> None:
    """They read the generator's old state."""
    said, recorder = list[str](), FailsSecond()
    work = begun(recorder, data, Alternate((LINF, CLEAN)), said=said)
    for replayed in (1, 1, 1, 1):
        work.advance()
        assert recorder.replayed == replayed
    assert len(said) == 1


def test_an_error_of_a_step_is_raised(data: TrainingData) -> None:
    work = begun(StandIn(), data, Single((multiplied(lambda x: 1 / 0),)))
    with pytest.raises(ZeroDivisionError):
        work.advance()


class Curriculum(Single):
    """An objective that somebody else made, whose steps are all different."""

    def turn(self, step: int, seed: int) -> int:
        return Objective.turn(self, step, seed)

    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        return super().build(model, x * (1 / (1 + turn)), y, turn, generator)


def test_an_objective_with_ever_new_turns_is_called(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_MOST_GRAPHS", 3)
    said, stand_in = list[str](), StandIn()
    objective = Curriculum((LINF,))
    works = begun(stand_in, data, objective, said=said), begun(Refusing(), data, objective)
    for work in works:
        _finish(work, None, None)
    assert (stand_in.recorded, stand_in.replayed) == (3, 3)
    (text,) = said
    assert "more than 3 turns" in text
    assert same(*(state(work.model) for work in works))


# --- compiled networks ---------------------------------------------------------------------------


@pytest.fixture
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.usefixtures("nothing_compiled")
def test_compiled_networks_are_trained_to_the_same_weights(data: TrainingData) -> None:
    objective = Single((WorstOfDraws(Snow(2.0)),))
    works = [begun(None, data, objective, mixture, **AVERAGED) for _ in range(2)]
    _finish(works[0], None, None)
    with compiled(works[1].model, pytest.fail, backend="aot_eager"):
        works[1].advance()
        graphs = counters["stats"]["unique_graphs"]
        _finish(works[1], None, None)
    assert graphs > 2
    assert counters["stats"]["unique_graphs"] == graphs  # validation adds none
    for one, other in zip(*(state(work.model).values() for work in works), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("nothing_compiled")
def test_where_compiled_networks_cannot_be_captured_uncompiled_ones_may_be(
    data: TrainingData,
) -> None:
    for times, count in ((1, 1), (2, 0)):
        said, recorder = list[str](), FailsAfter("record", RuntimeError("no graph"), times)
        work = begun(recorder, data, Single((LINF,)), said=said)
        with compiled(work.model, pytest.fail, backend="eager"):
            work.advance()
            work.advance()
        (text,) = said
        assert ("not compiled" if count else "not captured") in text
        assert "no graph" in text
        assert recorder.replayed == 2 * count


# --- where steps are captured --------------------------------------------------------------------


def test_steps_are_captured_on_a_gpu_only(data: TrainingData) -> None:
    assert recorder_on(torch.device("cpu")) is None
    assert not isinstance(begun(None, data, Single((CLEAN,)))._execute, Captured)
    benchmark = torch.backends.cudnn.benchmark
    with execution.fastest_convolutions(torch.device("cuda")):
        assert torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    try:
        with execution.fastest_convolutions(torch.device("cuda")):
            assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.backends.cudnn.benchmark == benchmark


def moved(model: nn.Module, device: torch.device) -> nn.Module:
    return copy.deepcopy(model).to(device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_after_a_failed_capture() -> None:
    gpu = torch.device("cuda")
    generator, x = torch.Generator(gpu).manual_seed(1), torch.zeros(4, device=gpu)

    def run() -> None:
        x.uniform_(generator=generator)
        x.sum().item()

    stream, drawn = torch.cuda.current_stream(), generator.get_state()
    with pytest.raises(RuntimeError):
        CudaGraphs(gpu).record(run, generator)
    assert torch.cuda.current_stream() == stream
    generator.set_state(drawn)
    x.uniform_(generator=generator)
    torch.rand(1, device=gpu)
    assert torch.equal(x, torch.rand(4, generator=generator.manual_seed(1), device=gpu))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_captures_every_kind_of_step() -> None:
    gpu = torch.device("cuda")
    digits = load_data("digits").train.to(gpu)
    data = TrainingData(digits.sample(60, 0), digits.sample(20, 1), Augment(1, True))
    objective = SideBySide((CLEAN, LINF, TWO, ONE, SNOW))
    for model in (network(), mixture(), Small()):
        losses = []
        for refuse in (False, True):
            said = list[str]()
            recorder = Refusing() if refuse else recorder_on(gpu)
            work = begun(
                recorder, data, objective, partial(moved, model, gpu), said=said, **AVERAGED
            )
            _finish(work, None, None)
            assert bool(said) == refuse, said
            losses.append([entry["loss"] for entry in work.state.history])
        assert losses[0] == pytest.approx(losses[1], rel=0.05)
    model = network().to(gpu)
    fit = train(model, objective, data, settings(), notice=pytest.fail)
    assert len(fit.history) == 3


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second GPU")
def test_a_gpu_that_is_not_the_current_one_captures() -> None:
    gpu = torch.device("cuda:1")
    generator, x = torch.Generator(gpu).manual_seed(1), torch.zeros(4, device=gpu)
    recorder = CudaGraphs(gpu)
    recorder.warm_up(lambda: x.add_(1))
    replay = recorder.record(lambda: x.add_(1), generator)
    x.zero_()
    replay()
    assert x.tolist() == [1, 1, 1, 1]
