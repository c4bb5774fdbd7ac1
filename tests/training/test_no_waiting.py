"""No training step waits for an accelerator, or copies to it.

On the CPU the test watches for operations that would wait; on a GPU, CUDA reports them as well.
"""

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from morex.attacks import PGD, AwayFromChoices, SearchAround, WorstOfDraws
from morex.data import Augment, ImageSet
from morex.models.mixture import Mixture
from morex.models.resnet import NetworkConfig, ResNet
from morex.perturbations import L1, L2, Around, Clean, Corruption, Fog, Linf, Snow
from morex.recipe.components import PERTURBATIONS
from morex.training.batches import TrainingData
from morex.training.config import TrainingConfig
from morex.training.criteria import ClassOfImage, Criterion, ExpertForMember
from morex.training.loop import Training
from morex.training.objectives import (
    Alternate,
    Average,
    Max,
    Objective,
    OneDrawn,
    SideBySide,
    Single,
)

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default,  # .item(), bool(), if
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,  # the size of the result must be known
    aten.masked_select.default,
    aten.lift_fresh.default,  # a tensor made of Python numbers, which is then copied
}
ON_THE_HOST = {"_scale_to_radius", "_single_tensor_adam"}
"""A question that is only asked on a CPU; and the step counts of Adam, which stay on the host."""


class Watch(TorchDispatchMode):
    """Notes where an operation is called that waits for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in WAITS or _indexes_by_booleans(func, args):
            stack = traceback.extract_stack()
            if not ON_THE_HOST & {frame.name for frame in stack}:
                ours = [f"{f.name}:{f.lineno}" for f in stack if "/morex/" in f.filename]
                self.found.append(f"{func} in {ours[-1:]}")
        return func(*args, **(kwargs or {}))


def _indexes_by_booleans(func, args) -> bool:
    if func not in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        return False
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


@contextmanager
def watched() -> Iterator[Watch]:
    with Watch() as watch:
        yield watch


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
    return Training(model, objective, data, settings, criterion, seed=0, name="model")


@pytest.mark.parametrize(
    "objective",
    [
        Single((CLEAN,)),
        Single((LINF,)),
        Single((TWO,)),
        Single((ONE,)),
        Single((SNOW,)),
        Single((WorstOfDraws(Snow(2.0), 2),)),
        Single((UNION,)),
        Max((LINF, TWO, FOG, SNOW)),
        Average((LINF, TWO, FOG, SNOW)),
        OneDrawn((LINF, CLEAN)),
        Alternate((LINF, CLEAN)),
        SideBySide((CLEAN, LINF, TWO, FOG, SNOW, BOTH)),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_no_step_of_a_network_waits(objective: Objective, device: torch.device) -> None:
    work = training(device, network(0), objective, ClassOfImage(), average=0.9, clip_norm=1.0)
    _advance(work)


@pytest.mark.parametrize("name", [n for n, c in PERTURBATIONS.items() if issubclass(c, Corruption)])
def test_no_corruption_waits(name: str, device: torch.device) -> None:
    corrupted = WorstOfDraws(PERTURBATIONS[name](5))
    _advance(training(device, network(0), Single((corrupted,)), ClassOfImage()))


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


def _advance(work: Training) -> None:
    work.advance()  # once, for what is copied once
    with watched() as watch, _told_by_cuda(work.batches.device):
        work.advance()
        work.advance()
    assert not watch.found


@contextmanager
def _told_by_cuda(device: torch.device) -> Iterator[None]:
    """Make everything that waits for a GPU an error."""
    if device.type != "cuda":
        yield
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that it is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_watch_notices() -> None:
    x = torch.ones(3)
    for wait in (
        lambda: x.sum().item(),
        lambda: bool(x.any()),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: torch.tensor([1.0, 2.0]),
    ):
        with watched() as watch:
            wait()
        assert watch.found
