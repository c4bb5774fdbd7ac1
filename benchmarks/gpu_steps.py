"""The steps that ``gpu`` measures: those of morex, and those written out."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from benchmarks.bare import EPS_L2, EPS_LINF, STEPS, BareStep, PlainMixture
from morex import Mixture, NetworkConfig, ResNet, TrainingConfig, TrainingData
from morex.attacks import PGD, Attack, WorstOfDraws
from morex.core.precision import default_settings, resolved
from morex.data import Augment, ImageSet
from morex.models.compiled import compiled_if_it_pays
from morex.perturbations import L2, Clean, Fog, Linf, Snow
from morex.training import (
    Average,
    ClassOfImage,
    Criterion,
    ExpertForMember,
    Max,
    Objective,
    SideBySide,
    Single,
)
from morex.training.execution import fastest_convolutions
from morex.training.loop import Training

_EXPERTS = 4
_RIGHT = ((0,), (1,), (2,), (3,), (3,))
_CLEAN, _FOG, _SNOW = Clean(), Fog(t=0.15, light=0.6), Snow(darkness=2.5)


@dataclass(frozen=True)
class Setup:
    """Where and how large.

    Args:
        device: where to compute.
        widths: of the networks.
        batch: examples of a step; that of a mixture is five parts of a quarter each.
        architecture: of the networks.
        timed: seconds for which a step is repeated.
    """

    device: torch.device
    widths: tuple[int, ...]
    batch: int
    architecture: str
    timed: float

    @classmethod
    def full(cls, device: torch.device) -> Self:
        """Return the paper's network and one of a quarter of its width."""
        return cls(device, (64, 16), 256, "resnet18", 2.0)

    @classmethod
    def tiny(cls, device: torch.device) -> Self:
        """Return what a CPU does in seconds; its figures mean nothing."""
        return cls(device, (2,), 8, "resnet10", 0.0)

    def batch_of(self, kind: str) -> int:
        """Return the examples of a step: two of five parts of a mixture's batch are in balls."""
        return 5 * (self.batch // 4) if kind in ("mixture", "gate") else self.batch

    def network(self, width: int, outputs: int = 10, seed: int = 0) -> ResNet:
        """Return a network, with its channels innermost in memory."""
        config = NetworkConfig(self.architecture, width, outputs, (32, 32))
        network = ResNet(config, seed=seed).to(self.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def images(self, count: int) -> ImageSet:
        """Return random images and labels."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        y = torch.randint(10, (count,), generator=generator)
        return ImageSet(x, y, tuple("0123456789")).to(self.device)

    def seconds(self, step: Callable[[], object], together: int = 1) -> float:
        """Return the time of a step: the median of some rounds, after two steps that do not count.

        Args:
            step: what is timed.
            together: how many steps a round has on a GPU, which is waited for after a round. A
                training does not wait after every step: while one is computed, the host prepares
                the next.
        """
        for _ in range(2):
            step()
        steps, rounds = together if self.device.type == "cuda" else 1, list[float]()
        while len(rounds) < 2 or (sum(rounds) < self.timed and len(rounds) < 200):
            self._wait()
            started = time.perf_counter()
            for _ in range(steps):
                step()
            self._wait()
            rounds.append(time.perf_counter() - started)
        return statistics.median(rounds) / steps

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _pgd(ball: Linf | L2) -> Attack:
    return PGD(ball, steps=STEPS, keep="last")


def _objective(kind: str) -> Objective:
    linf, l2 = _pgd(Linf(EPS_LINF)), _pgd(L2(EPS_L2))
    if kind in ("mixture", "gate"):
        members = (WorstOfDraws(_CLEAN), l2, linf, WorstOfDraws(_FOG), WorstOfDraws(_SNOW))
        return SideBySide(members)
    return {
        "clean": Single((WorstOfDraws(_CLEAN),)),
        "linf": Single((linf,)),
        "l2": Single((l2,)),
        "msd": Single((PGD((Linf(EPS_LINF), L2(EPS_L2)), steps=STEPS, keep="last"),)),
        "max": Max((linf, l2)),
        "avg": Average((linf, l2)),
    }[kind]


KINDS = ("clean", "linf", "l2", "msd", "max", "avg", "mixture", "gate")


def _networks(setup: Setup, width: int) -> tuple[list[nn.Module], nn.Module]:
    experts: list[nn.Module] = [setup.network(width, seed=i) for i in range(_EXPERTS)]
    return experts, setup.network(width, outputs=_EXPERTS, seed=_EXPERTS)


@contextmanager
def product_step(setup: Setup, kind: str, width: int) -> Iterator[Callable[[], object]]:
    """Yield a step of morex, as a training of 25 epochs on CIFAR-10 takes it."""
    if kind in ("mixture", "gate"):
        experts, gate = _networks(setup, width)
        model: nn.Module = Mixture({f"e{i}": e for i, e in enumerate(experts)}, gate)
    else:
        model = setup.network(width)
    batch = setup.batch_of(kind)
    images = setup.images(4 * batch)
    data = TrainingData(images, images.first(batch), Augment(crop=4, flip=True))
    config = TrainingConfig(
        epochs=1200, batch_size=batch, nesterov=True, average=0.995, validate_every=None
    )
    criterion: Criterion = ExpertForMember(_RIGHT) if kind == "gate" else ClassOfImage(0.1)
    shape, device = (batch, *images.shape), setup.device
    with default_settings(device), fastest_convolutions(device):
        training = Training(
            model, _objective(kind), data, config, criterion, seed=0, name=kind, notice=_say
        )
        with compiled_if_it_pays(model, shape, training.passes, _say):
            yield training.advance


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def bare_step(setup: Setup, kind: str, width: int) -> BareStep:
    """Return the same step written out, on one batch."""
    images = setup.images(setup.batch_of(kind))
    x = images.pixels(slice(None)).contiguous(memory_format=torch.channels_last)
    half = resolved("auto", setup.device) == "bf16"
    if kind not in ("mixture", "gate"):
        network = setup.network(width)
        learning = [*network.parameters()]
        return BareStep(kind, network, learning, x, images.labels, half=half)
    experts, gate = _networks(setup, width)
    model = PlainMixture(experts, gate)
    learning = [*gate.parameters()]
    if kind == "mixture":
        learning += [p for expert in experts for p in expert.head.parameters()]  # type: ignore[union-attr]
    return BareStep(kind, model, learning, _with_weather(x), images.labels, half=half)


def _with_weather(x: Tensor) -> Tensor:
    """Return a mixture's batch, whose last two parts are in fog and snow."""
    fifth = len(x) // 5
    generator = torch.Generator(device=x.device).manual_seed(0)
    fog, snow = _FOG(x[3 * fifth : 4 * fifth]), _SNOW(x[4 * fifth :], generator=generator)
    joined = torch.cat([x[: 3 * fifth], fog, snow])
    return joined.contiguous(memory_format=torch.channels_last)


def work_of(setup: Setup, kind: str, width: int) -> float:
    """Return the floating-point operations of a step per example, from its passes.

    A gradient of the weights costs as much again as that of the images. In a mixture only the gate
    has weight gradients, apart from the last layers.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network = setup.network(width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32, device=setup.device))
    forward = float(counter.get_total_flops())
    objective = _objective(kind)
    cost = objective.passes
    if kind not in ("mixture", "gate"):
        return forward * (cost.forward + cost.backward + objective.updates)
    searched = cost.forward - 1 + cost.backward - 1
    update = _EXPERTS + 3 if kind == "mixture" else 3
    return forward * ((_EXPERTS + 1) * searched + update)
