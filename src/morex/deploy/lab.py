"""What the playground does to a picture: the perturbations and attacks of the library, with a seed.

A picture goes through the chosen transforms, one after the other. An attack then searches a ball
around the result, or what else an attacker chooses, such as a fog.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from morex.attacks import PGD, Attack, GateSteering, attack_on
from morex.core.precision import exact_settings
from morex.core.seeding import generator_for
from morex.evaluation.strength_curves import possible
from morex.models.mixture import Ensemble, Mixture
from morex.perturbations import (
    L2,
    Around,
    Ball,
    Clean,
    Fog,
    Linf,
    Occlusion,
    Parametric,
    Perturbation,
    Rain,
    Snow,
    Transform,
    draw,
)

AttackKind = Literal["pgd", "steering"]
"""PGD on the class, or PGD that steers the gate as well."""

MOST_STEPS = 100
"""The most steps of an attack."""

FACTORS = tuple(k / 10 for k in range(21))
"""The strengths that can be chosen, relative to those of the recipe."""

USUAL: Mapping[str, Perturbation] = {
    "linf": Linf(8 / 255),
    "l2": L2(0.5),
    "fog": Fog(0.15, 0.6),
    "snow": Snow(2.5),
    "rain": Rain(),
    "occlusion": Occlusion(),
}
"""The perturbations for a model that was saved without a recipe."""

_SEARCHED = Ball | Around | Parametric

_RADII = 10.0
"""The length of all steps of an attack, in radii, as in the curves of the report."""


@dataclass(frozen=True)
class Trial:
    """What is done to a picture.

    Attributes:
        strengths: factors on the strengths of transforms, by name; 0 leaves one out.
        attack: the kind of attack, and the name of what it searches; None for no attack.
        radius: the factor on the strength of what is searched.
        steps: of the attack.
        seed: of everything that is drawn.
    """

    strengths: Mapping[str, float]
    attack: tuple[AttackKind, str] | None = None
    radius: float = 1.0
    steps: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """What a model and its experts answer for one picture.

    Attributes:
        probabilities: of the classes, (K,).
        experts: the probabilities that each expert gives the classes, (m, K).
        weights: the gate's weights, (m,); None without a gate.
    """

    probabilities: Tensor
    experts: Tensor
    weights: Tensor | None


class Lab:
    """A copy of a model that is attacked while the model itself answers requests.

    Args:
        network: the model, in evaluation mode.
        perturbations: what may happen to a picture, by name.
        device: where the model computes.
    """

    def __init__(
        self,
        network: nn.Module,
        perturbations: Mapping[str, Perturbation],
        device: torch.device,
    ) -> None:
        self._original, self.device = network, device
        known = {n: p for n, p in perturbations.items() if not isinstance(p, Clean)}
        self.transforms = {n: p for n, p in known.items() if isinstance(p, Transform)}
        drawn = self.transforms
        self.searched = {
            n: p for n, p in known.items() if n not in drawn and isinstance(p, _SEARCHED)
        }

    @cached_property
    def network(self) -> nn.Module:
        """The copy: an attack freezes what it attacks, which other threads must not see."""
        return deepcopy(self._original)

    @property
    def has_gate(self) -> bool:
        """Whether there is a gate to steer."""
        return isinstance(self._original, Mixture)

    def named(self, name: str) -> Perturbation:
        """Return the perturbation of that name."""
        return (self.transforms | self.searched)[name]

    def strengths(self, name: str) -> dict[float, str]:
        """Return the strengths of a perturbation that can be chosen: the factor, and in words."""
        perturbation = self.named(name)
        found = {f: _short(perturbation.scaled(f)) for f in possible(perturbation, FACTORS) if f}
        return {0.0: "off"} | (found or {1.0: _short(perturbation)})

    def attack(self, trial: Trial) -> Attack | None:
        """Return the attack of a trial."""
        if trial.attack is None:
            return None
        kind, name = trial.attack
        return attack_on(
            _at(self.searched[name], trial.radius),
            lambda ball: _search(kind, ball, trial.steps),
        )

    def perturbed(self, x: Tensor, trial: Trial) -> Tensor:
        """Return a picture (1, 3, H, W) in [0, 1] after the transforms of a trial."""
        for name, perturbation in self.transforms.items():
            if factor := trial.strengths.get(name, 0.0):
                generator = generator_for(trial.seed, "playground", name, device=x.device)
                x = draw(_transform(perturbation, factor), x, generator)
        return x

    def changed(self, x: Tensor, y: Tensor, trial: Trial) -> Tensor:
        """Return a picture (1, 3, H, W) in [0, 1] after all of a trial.

        Args:
            x: the picture.
            y: the class away from which an attack leads, (1,).
            trial: what is done.
        """
        with exact_settings(x.device), torch.no_grad():
            moved = self.perturbed(x, trial)
        if attack := self.attack(trial):
            generator = generator_for(trial.seed, "playground", "attack", device=x.device)
            moved = attack(self.network, moved, y, generator=generator)
        return moved

    def answer(self, x: Tensor) -> Answer:
        """Return what model and experts answer for a picture (1, 3, H, W) in [0, 1]."""
        network = self.network
        with exact_settings(x.device), torch.no_grad():
            logits: Tensor = network(x)
            whole = logits.float().softmax(1)[0].cpu()
            if not isinstance(network, Ensemble):
                return Answer(whole, whole.new_zeros(0, len(whole)), None)
            experts = network.expert_logits(x).float().softmax(2)[0].cpu()
            if not isinstance(network, Mixture):
                return Answer(whole, experts, None)
            return Answer(whole, experts, network.gate_weights(x)[0].cpu())


def _short(perturbation: Perturbation) -> str:
    """Return a perturbation in words, its numbers with three digits."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.3g}", str(perturbation))


def _at(perturbation: Perturbation, factor: float) -> Perturbation:
    """Return a perturbation at a strength; at 1 it need not be one that can be scaled."""
    return perturbation if factor == 1 else perturbation.scaled(factor)


def _transform(perturbation: Perturbation, factor: float) -> Transform:
    scaled = _at(perturbation, factor)
    assert isinstance(scaled, Transform)
    return scaled


def _search(kind: AttackKind, ball: Perturbation, steps: int) -> Attack:
    assert isinstance(ball, Ball | Parametric)
    if kind == "steering":
        return GateSteering(ball, steps=steps, relative_step=_RADII)
    return PGD(ball, steps=steps, relative_step=_RADII)
