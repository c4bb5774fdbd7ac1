"""Attacks of other libraries against those of morex, on one network and the same images."""

import os
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import morex
from benchmarks.measuring import Measurement, ratio
from morex.attacks import PGD, Attack, DeepFool, frozen
from morex.data import DataError, load_data
from morex.perturbations import L2, Linf

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox looks for git when imported
import foolbox
from pyautoattack import AutoAttack

_IMAGES = 400
_L2, _LINF = L2(1.0), Linf(8 / 255)
_STEPS = 50
_STEPS_OF_FIXED_LENGTH = 60  # PGD needs these to find as much as 50 steps of APGD

Adversary = Callable[[], Tensor]


def measure() -> Iterator[Measurement]:
    """Attack test images of the shipped network that was trained against Linf."""
    try:
        data = load_data("cifar10").test
    except DataError as error:
        warnings.warn(
            f"the attacks are not measured, because CIFAR-10 is missing: {error}", stacklevel=1
        )
        return
    model = morex.load("cifar10-small/minf")
    x, y = data.pixels(slice(0, _IMAGES)), data.labels[:_IMAGES]
    with torch.no_grad():
        right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    for name, ours, theirs in _pairs(model, x, y):
        mine, their = _standing(model, ours(), y), _standing(model, theirs(), y)
        value, about = ratio(theirs, ours, rounds=3)
        about |= {"accuracy": mine, "against_accuracy": their, "images": len(y)}
        yield Measurement(f"speed: {name}", value, 2, about=about)
        gap = mine - their
        yield Measurement(f"points of accuracy more: {name}", gap, 0.5, most=True, about=about)


def _pairs(model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[str, Adversary, Adversary]]:
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")

    def of_foolbox(attack: foolbox.Attack, eps: float) -> Adversary:
        return lambda: attack(wrapped, x, y, epsilons=eps)[1]

    def of_morex(attack: Attack) -> Adversary:
        def run() -> Tensor:
            with frozen(model):
                fast = x.contiguous(memory_format=torch.channels_last)
                return attack.search(model, fast, y, torch.Generator().manual_seed(0))

        return run

    def apgd(norm: str, eps: float) -> Adversary:
        def run() -> Tensor:
            attack = AutoAttack(
                model, norm=norm, eps=eps, version="custom", attacks=["apgd-ce"], seed=0
            )
            attack.apgd.n_restarts, attack.apgd.n_iter = 1, _STEPS
            moved: Tensor = attack.run_standard_evaluation(x, y, batch_size=len(x))[0]
            return moved

        return run

    step = 2.5 / _STEPS
    for ball, library in ((_LINF, foolbox.attacks.LinfPGD), (_L2, foolbox.attacks.L2PGD)):
        usual = library(steps=_STEPS, rel_stepsize=step)
        ours = PGD(ball, steps=_STEPS, stop_when_fooled=True)
        yield f"PGD, foolbox / morex, {ball}", of_morex(ours), of_foolbox(usual, ball.eps)
    for ball, library in (
        (_LINF, foolbox.attacks.LinfDeepFoolAttack),
        (_L2, foolbox.attacks.L2DeepFoolAttack),
    ):
        usual = library(steps=50, candidates=10, overshoot=0.02)
        yield (
            f"DeepFool, foolbox / morex, {ball}",
            of_morex(DeepFool(ball, steps=50)),
            of_foolbox(usual, ball.eps),
        )
    for norm, ball in (("Linf", _LINF), ("L2", _L2)):
        ours = PGD(
            ball,
            steps=_STEPS_OF_FIXED_LENGTH,
            relative_step=10,
            random_start=False,
            stop_when_fooled=True,
        )
        yield f"APGD of pyautoattack / PGD of morex, {ball}", of_morex(ours), apgd(norm, ball.eps)


def _standing(model: nn.Module, moved: Tensor, y: Tensor) -> float:
    """Return the accuracy on attacked images, in percent."""
    with torch.no_grad():
        return 100 * float((model(moved).argmax(1) == y).float().mean())
