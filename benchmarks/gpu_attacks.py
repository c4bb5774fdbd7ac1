"""Attacks of morex against those of foolbox and pyautoattack, in images per second."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from benchmarks.bare import EPS_L2, EPS_LINF, STEPS
from benchmarks.gpu_steps import Setup
from morex.attacks import PGD
from morex.core.seeding import generator_for
from morex.perturbations import L2, Ball, Linf

HEAD = "| attack | images/s | library | its images/s | morex / library |\n|---|---:|---|---:|---:|"


@dataclass(frozen=True)
class AttackRate:
    """Images per second of an attack of morex, and of the same of a library."""

    name: str
    product: float
    library: str
    theirs: float

    def row(self) -> str:
        """Return the row of the table."""
        ratio = self.product / self.theirs
        theirs = f"{self.library} | {self.theirs:,.0f} | {ratio:.2f} |"
        return f"| {self.name} | {self.product:,.0f} | {theirs}"


def attack_rates(setup: Setup, ends: float) -> Iterator[AttackRate]:
    """Measure PGD in both balls, as an evaluation calls it, until the time is over."""
    model = setup.network(setup.widths[0]).eval()
    images = setup.images(setup.batch)
    x, y = images.pixels(slice(None)), images.labels
    for ball in (Linf(EPS_LINF), L2(EPS_L2)):
        ours = partial(
            PGD(ball, steps=STEPS), model, x, y, generator=generator_for(0, device=x.device)
        )
        for library, theirs in _theirs(model, ball, x, y):
            if time.monotonic() < ends:
                rates = [len(y) / setup.seconds(attack) for attack in (ours, theirs)]
                yield AttackRate(f"PGD-{STEPS} in {ball}", rates[0], library, rates[1])


def _theirs(
    model: nn.Module, ball: Ball, x: Tensor, y: Tensor
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the attacks of the libraries that are installed, with all that they need."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox looks for git
    if foolbox := _library("foolbox"):
        kind = {Linf: foolbox.attacks.LinfPGD, L2: foolbox.attacks.L2PGD}[type(ball)]
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        attack = kind(steps=STEPS, rel_stepsize=2.5 / STEPS)
        yield "foolbox, PGD", lambda: attack(wrapped, x, y, epsilons=ball.eps)
    if _library("pyautoattack"):
        yield "pyautoattack, APGD", partial(_apgd, model, ball, x, y)


def _library(name: str) -> Any:
    """Return a package, or None if it or something that it imports is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


def _apgd(model: nn.Module, ball: Ball, x: Tensor, y: Tensor) -> object:
    from pyautoattack import AutoAttack

    norm = {Linf: "Linf", L2: "L2"}[type(ball)]
    attack = AutoAttack(
        model,
        norm=norm,
        eps=ball.eps,
        version="custom",
        attacks=["apgd-ce"],
        device=x.device,
        seed=0,
    )
    attack.verbose = False
    attack.apgd.n_restarts, attack.apgd.n_iter = 1, STEPS
    return attack.run_standard_evaluation(x, y, batch_size=len(x))
