"""The attacks of the masking audit in one ball, by the point of the checklist that runs them."""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from morex.attacks import (
    PGD,
    Attack,
    AutoAttack,
    ExpertTransfer,
    GateSteering,
    OfLogits,
    RandomNoise,
    RayS,
    Targeted,
    cross_entropy,
)
from morex.attacks.autoattack import is_installed
from morex.attacks.gate_losses import EveryExpertAsked, Gated, is_sparse
from morex.attacks.losses import margin
from morex.attacks.transfer import experts_of
from morex.perturbations import Ball, Linf

STRONG, ONE, MORE = "strong", "one step", "more"
WITHOUT_SQUARE = "Square left out, it needs pyautoattack: pip install 'morex[autoattack]'"

Attacks = Mapping[int, Mapping[str, Attack]]
"""Attacks by point and name. Random draws depend on the name."""


def attacks_in(
    ball: Ball, model: nn.Module, pixels: int, steps: int, queries: int
) -> dict[int, dict[str, Attack]]:
    """Return the attacks of the points 1 to 4, 6 and 7, in the order in which they run.

    Args:
        ball: an Linf or L2 ball.
        model: decides which attacks on parts of it there are.
        pixels: values per image, all channels together.
        steps: of PGD; steering and transfer, which consist of many searches, take half as many.
        queries: of attacks without gradients, per example.
    """
    # the plain cross-entropy: an audit is to notice logits so large that its gradient vanishes
    loss = OfLogits(cross_entropy)
    strong = PGD(ball, steps, 10, restarts=2, stop_when_fooled=True, loss=loss)
    return {
        1: {
            ONE: PGD(ball, steps=1, relative_step=1, random_start=False, loss=loss),
            STRONG: strong,
            MORE: replace(strong, steps=2 * steps, restarts=2 * strong.restarts),
        },
        2: {
            radius_name(radius): replace(strong, perturbation=replace(ball, eps=radius))
            for radius in radii(ball, pixels)
            if radius != ball.eps
        },
        3: _blind(ball, queries),
        4: {},
        6: _other_losses(replace(strong, restarts=1)),
        7: _on_parts(ball, model, max(1, steps // 2)),
    }


def radii(ball: Ball, pixels: int) -> list[float]:
    """Return the radii of point 2; in the last ball every image may become the same grey."""
    everything = 0.5 if isinstance(ball, Linf) else 0.5 * pixels**0.5
    return [r for r in (ball.eps * factor for factor in (0.5, 1, 2, 4)) if r < everything] + [
        everything
    ]


def radius_name(radius: float) -> str:
    """Return the name of the PGD in a ball of this radius."""
    return f"radius {radius}"


def _blind(ball: Ball, queries: int) -> dict[str, Attack]:
    """Return attacks without gradients."""
    square: dict[str, Attack] = (
        {"Square": AutoAttack(ball, attacks=("square",), queries=queries)} if is_installed() else {}
    )
    return square | {"RayS": RayS(ball, queries=queries), "noise": RandomNoise(ball)}


def _other_losses(once: PGD) -> dict[str, Attack]:
    return {
        "margin": replace(once, loss=OfLogits(margin)),
        "second class": Targeted(once, rank=1),
        "third class": Targeted(once, rank=2),
    }


def _on_parts(ball: Ball, model: nn.Module, steps: int) -> dict[str, Attack]:
    """Return attacks on the gate and on the experts, if the model shows any."""
    attacks: dict[str, Attack] = {}
    if isinstance(model, Gated):
        attacks["steering"] = GateSteering(ball, steps, relative_step=5)
    if experts_of(model):
        attacks["transfer"] = ExpertTransfer(ball, steps, relative_step=5)
    if is_sparse(model):
        through = PGD(ball, steps, 5, stop_when_fooled=True, loss=EveryExpertAsked())
        attacks["all experts"] = through
    return attacks
