"""Point 5 of the masking audit: gradients, outputs and continuity.

Gradients must exist, outputs must be logits, and answers must neither jump nor be random.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from morex.artifacts.findings import Finding
from morex.attacks import cross_entropy
from morex.attacks.gate_losses import Gated
from morex.evaluation.audit_basis import Audited, in_percent
from morex.models.mixture import Mixture

_PATHS, _POINTS, _HALVINGS = 32, 33, 12
"""The search for jumps: paths, points on each, halvings of the interval that changes most."""

_JUMP = 0.02
"""The change over a tiny interval that counts as a jump, relative to the spread of the logits."""

_SAME, _ALONE = 1e-3, 1e-2
"""Differences that rounding may cause, relative to the spread of the logits: between two answers to
one batch, and between an image in its batch and by itself."""


def outputs(audited: Audited) -> Finding:
    """Measure gradients, outputs and continuity."""
    model, x, silent = audited.model, audited.x, audited.limits.silent
    with torch.no_grad():
        logits = model(x).float()
        again, alone = model(x).float(), model(x[:1]).float()
    scale = float((logits.amax(1) - logits.amin(1)).mean()) or 1.0
    evidence = {
        "no gradient": in_percent(without_gradient(model, x, audited.y)),
        "spread of the logits": round(scale, 3),
        "jumps": in_percent(jumps(model, x, _JUMP * scale)),
        "difference of two answers": round(100 * float((logits - again).abs().max()) / scale, 4),
    }
    shares = {
        "many images have no gradient": evidence["no gradient"] > silent,
        "the answer jumps: a step is not differentiable": evidence["jumps"] > silent,
    }
    facts = {
        "the outputs are probabilities, not logits": _are_probabilities(logits),
        "two answers to one image differ": evidence["difference of two answers"] > 100 * _SAME,
        "an answer depends on the other images": float((alone - logits[:1]).abs().max())
        > _ALONE * scale,
        "the gate picks one expert and hides the others": _is_hard(model, x),
    }
    return audited.verdict(5, evidence, _seen(shares), _seen(facts))


def _seen(signs: Mapping[str, bool]) -> list[str]:
    return [sign for sign, is_so in signs.items() if is_so]


def without_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return which images get no gradient of the cross-entropy, or none that is a number, (N,)."""
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        loss = cross_entropy(model(leaf), y).sum()
        if not loss.requires_grad:
            return torch.ones_like(y, dtype=torch.bool)
        (gradient,) = torch.autograd.grad(loss, leaf, materialize_grads=True, allow_unused=True)
    return gradient.flatten(1).nan_to_num(nan=0).abs().amax(1) == 0


@torch.no_grad()
def jumps(model: nn.Module, x: Tensor, least: float) -> Tensor:
    """Return on which straight paths from an image to the one before it the logits jump, (n,).

    The interval with the largest change is halved repeatedly, each time keeping the half that
    changes more. A continuous function changes less and less.

    Args:
        model: images to logits.
        x: images (N, C, H, W); the first 32 start a path.
        least: the change of a logit over the last interval that counts as a jump.
    """
    start, end = x[:_PATHS], x.roll(1, 0)[:_PATHS]

    def between(at: Tensor) -> Tensor:
        logits: Tensor = model(start + at.view(-1, 1, 1, 1) * (end - start)).float()
        return logits

    at = torch.linspace(0, 1, _POINTS, device=x.device)
    path = torch.stack([between(t.expand(len(start))) for t in at])
    widest = (path[1:] - path[:-1]).abs().amax(2).argmax(0)
    low, high = at[widest], at[widest + 1]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        left, centre, right = (between(t) for t in (low, middle, high))
        first = (centre - left).abs().amax(1) >= (right - centre).abs().amax(1)
        low, high = torch.where(first, low, middle), torch.where(first, middle, high)
    return (between(high) - between(low)).abs().amax(1) > least


def _are_probabilities(logits: Tensor) -> bool:
    return bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all())


def _is_hard(model: nn.Module, x: Tensor) -> bool:
    """Return whether a gate gives all its weight to one expert, exactly and for every image.

    Then no gradient says how another expert would get the image.
    """
    if isinstance(model, Mixture):
        weights = model.routed_weights(x)
    elif isinstance(model, Gated):
        weights = model.gate_weights(x)
    else:
        return False
    return weights.shape[1] > 1 and bool(((weights == 0) | (weights == 1)).all())
