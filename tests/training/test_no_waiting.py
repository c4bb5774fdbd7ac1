"""No training step waits for an accelerator, or copies to it.

On the CPU the test watches for operations that would wait; on a GPU, CUDA reports them as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from recording import Refusing
from small_training import Small
from watching import watched

from morex.attacks import PGD, AwayFromChoices, AwayFromOwnAnswers, SearchAround, WorstOfDraws
from morex.core.asking import as_on_an_accelerator
from morex.data import Augment, ImageSet
from morex.models.mixture import Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.perturbations import (
    L1,
    L2,
    AdversarialElastic,
    AdversarialFog,
    AdversarialJpeg,
    AdversarialSnow,
    Around,
    Clean,
    Corruption,
    Flow,
    Fog,
    Linf,
    Occlusion,
    Parametric,
    Patch,
    Rain,
    Recolor,
    RotateTranslate,
    Scale,
    Shear,
    Snow,
    Transform,
    compose,
)
from morex.recipe.components import PERTURBATIONS
from morex.training.batches import TrainingData
from morex.training.config import PerturbedWeights, TrainingConfig
from morex.training.criteria import ClassOfImage, Criterion, ExpertForMember
from morex.training.drawn import OneDrawn
from morex.training.execution import waiting_is_an_error
from morex.training.loop import Training
from morex.training.objectives import (
    Alternate,
    Average,
    Max,
    Objective,
    SideBySide,
    Single,
)
from morex.training.state import TrainingState
from morex.training.step import TrainingStep
from morex.training.trades import Trades

CLEAN, SNOW, FOG = (WorstOfDraws(t) for t in (Clean(), Snow(2.0), Fog(0.1, 0.6)))
LINF, TWO, ONE = PGD(Linf(0.1), 2), PGD(L2(0.5), 2), PGD(L1(2.0), 2)
BOTH = SearchAround(Around(Fog(0.1, 0.6), Linf(0.1)), LINF)
UNION = PGD((Linf(0.1), L2(0.5)), 2)


def network(seed: int, outputs: int = 10) -> ResNet:
    return ResNet(NetworkConfig("resnet10", 4, outputs, (8, 8)), seed=seed)


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
        ),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


def training(
    device: torch.device, model, objective: Objective, criterion: Criterion, **config
) -> Training:
    model = model.to(device).to(memory_format=torch.channels_last)
    images = torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8)
    whole = ImageSet(images, torch.arange(24) % 10, tuple("0123456789"))
    validation = whole.first(4).to(device)
    data = TrainingData(whole.to(device), validation, Augment(crop=1, flip=True))
    settings = TrainingConfig(epochs=2, batch_size=8, precision="fp32", **config)
    recorder = Refusing() if device.type == "cuda" else None  # capturing waits
    return Training(
        model,
        objective,
        data,
        settings,
        criterion,
        seed=0,
        name="model",
        recorder=recorder,
        notice=lambda text: None,
    )


OBJECTIVES: list[Objective] = [
    Single((CLEAN,)),
    Single((LINF,)),
    Single((TWO,)),
    Single((ONE,)),
    Single((SNOW,)),
    Single((WorstOfDraws(Snow(2.0), 2),)),
    Single((UNION,)),
    Single((AwayFromOwnAnswers(LINF),)),
    Max((LINF, TWO, FOG, SNOW)),
    Average((LINF, TWO, FOG, SNOW)),
    OneDrawn((LINF, CLEAN)),
    OneDrawn((LINF, CLEAN), by_error=True),
    Alternate((LINF, CLEAN)),
    SideBySide((CLEAN, LINF, TWO, FOG, SNOW, BOTH)),
]


@pytest.mark.parametrize(
    "objective",
    OBJECTIVES,
    ids=lambda objective: type(objective).__name__,
)
def test_no_step_of_a_network_waits(objective: Objective, device: torch.device) -> None:
    work = training(device, network(0), objective, ClassOfImage(), average=0.9, clip_norm=1.0)
    _advance(work)


def test_no_step_of_trades_with_perturbed_weights_waits(device: torch.device) -> None:
    away = tuple(AwayFromOwnAnswers(attack) for attack in (LINF, TWO))
    settings = {"awp": PerturbedWeights(0.01)}
    _advance(training(device, network(0), SideBySide((*away, FOG)), Trades(), **settings))


@pytest.mark.parametrize("name", [n for n, c in PERTURBATIONS.items() if issubclass(c, Corruption)])
def test_no_corruption_waits(name: str, device: torch.device) -> None:
    corrupted = WorstOfDraws(PERTURBATIONS[name](5))
    _advance(training(device, network(0), Single((corrupted,)), ClassOfImage()))


TRANSFORMS: list[Transform] = [
    Rain(),
    Occlusion(),
    RotateTranslate(15, 1),
    Scale(10),
    Shear(10),
    compose(Fog(0, 1), Scale(5)),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_no_transform_waits(transform: Transform, device: torch.device) -> None:
    _advance(training(device, network(0), Single((WorstOfDraws(transform),)), ClassOfImage()))


CHOSEN = (
    *(AdversarialFog(0.5), AdversarialSnow(0.5), AdversarialElastic(0.1), AdversarialJpeg(0.5)),
    *(Recolor(0.1), Flow(0.1), Patch(0.3), Fog(0, 1), Snow(2)),
)


@pytest.mark.parametrize("chosen", CHOSEN, ids=str)
def test_no_search_of_parameters_waits(chosen: Parametric, device: torch.device) -> None:
    search = PGD(chosen, steps=2, keep="last")
    _advance(training(device, network(0), Single((search,)), ClassOfImage()))


@pytest.mark.parametrize("criterion", [ClassOfImage(), ExpertForMember(((0,), (1,)))])
def test_no_step_of_a_mixture_waits(criterion: Criterion, device: torch.device) -> None:
    mixture = Mixture({"a": network(0), "b": network(1)}, network(2, 2))
    _advance(training(device, mixture, SideBySide((CLEAN, LINF)), criterion, optimizer="adamw"))


def test_no_step_of_a_robust_gate_waits(device: torch.device) -> None:
    mixture = Mixture({name: network(i) for i, name in enumerate("abc")}, network(3, 3))
    led_astray = tuple(replace(a, loss=AwayFromChoices((0,))) for a in (LINF, TWO))
    criterion = ExpertForMember(((0,), (0, 1), (2,)))
    _advance(
        training(device, mixture, SideBySide((*led_astray, FOG)), criterion, optimizer="adamw")
    )
    _advance(
        training(device, mixture, SideBySide((LINF, FOG, TWO)), ClassOfImage(), optimizer="adamw")
    )


class _Anywhere(torch.autocast):
    """Autocast, which does not know the device ``meta``."""

    def __init__(self, kind: str, *args: Any, **settings: Any) -> None:
        super().__init__("cpu" if kind == "meta" else kind, *args, **settings)


def test_every_step_stays_on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device ``meta`` has no values to ask for, and takes no tensors of a CPU."""
    monkeypatch.setattr(torch, "autocast", _Anywhere)
    corruptions = [c(5) for c in PERTURBATIONS.values() if issubclass(c, Corruption)]
    drawn = [Single((WorstOfDraws(t),)) for t in (*TRANSFORMS, *corruptions)]
    drawn += [Single((PGD(chosen, steps=2),)) for chosen in CHOSEN]
    config = TrainingConfig(batch_size=12, precision="fp32", average=0.9, clip_norm=1.0)
    for objective in (*OBJECTIVES, *drawn):
        model, criterion = Small().to("meta"), ClassOfImage()
        state = TrainingState(model, criterion.parameters(model), config)
        step = TrainingStep(model, objective, criterion, state, precision="fp32", clip_norm=1.0)
        x = torch.zeros(12, 3, 8, 8, device="meta")
        with as_on_an_accelerator():
            for number in range(2):
                state.begin_step(0.1)
                step(x, x[:, 0, 0, 0].long(), objective.turn(number, 0), torch.Generator())


def _advance(work: Training) -> None:
    work.advance()  # once, for what is copied once
    with watched() as watch, _told_by_cuda(work.batches.device):
        work.advance()
        work.advance()
    assert not watch.found


@contextmanager
def _told_by_cuda(device: torch.device) -> Iterator[None]:
    """Make everything that waits for a GPU an error."""
    if device.type == "cuda":
        with waiting_is_an_error():
            yield
    else:
        yield


def test_the_watch_notices() -> None:
    x = torch.ones(3)
    for wait in (
        lambda: x.sum().item(),
        lambda: bool(x.any()),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: torch.tensor([1.0, 2.0]),
        lambda: x.new_tensor([1.0, 2.0]),
        lambda: torch.equal(x, x),
        lambda: torch.masked_select(x, x > 0),
        lambda: float(x[0]),
    ):
        with watched() as watch:
            wait()
        assert watch.found
