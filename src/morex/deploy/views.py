"""What the page of the playground shows of a picture: pictures and answers, as JSON."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from morex.artifacts.class_words import word_of
from morex.core.threads import threads_for
from morex.deploy.lab import Answer, Lab, Trial
from morex.deploy.lessons import GateLessons
from morex.models.mixture import Ensemble
from morex.report.gate_words import gate_decision
from morex.report.images import exact_address, magnification, magnified

_SHOWN = 5
"""How many of the most probable classes are shown."""

_NORMS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}


def view(
    lab: Lab,
    lessons: GateLessons,
    classes: Sequence[str],
    pixels: Tensor,
    label: int | None,
    trial: Trial,
) -> dict[str, Any]:
    """Return a picture and the answers to it, before and after a trial.

    Args:
        lab: the model.
        lessons: what its gate tells apart.
        classes: names of the classes; class k is called "k" if they are not known.
        pixels: the picture, uint8 (3, H, W).
        label: its class; if that is not known, an attack leads away from what the model says.
        trial: what is done.
    """
    x = (pixels / 255)[None].to(lab.device)
    with threads_for(lab.network, tuple(x.shape), lab.device):
        before = lab.answer(x)
        said = int(before.probabilities.argmax())
        y = torch.tensor([said if label is None else label], device=lab.device)
        moved = lab.changed(x, y, trial)
        after = lab.answer(moved)
    names = [word_of(name) for name in classes] or [*map(str, range(len(before.probabilities)))]
    change = (moved - x)[0].cpu()
    return {
        "label": None if label is None else names[label],
        "before": _side(lab, lessons, names, x, before),
        "after": _side(lab, lessons, names, moved, after),
        "difference": _difference(change),
        "norms": {name: _norm(change, order) for name, order in _NORMS.items()},
    }


def _side(
    lab: Lab, lessons: GateLessons, names: Sequence[str], x: Tensor, answer: Answer
) -> dict[str, Any]:
    """Return a picture and the answers to it."""
    top = answer.probabilities.topk(min(_SHOWN, len(names)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return {
        "picture": exact_address(x[0].cpu().numpy()),
        "classes": [{"name": names[k], "probability": share} for k, share in pairs],
        "experts": _experts(lab, names, answer),
        **_gate(lab, lessons, answer),
    }


def _experts(lab: Lab, names: Sequence[str], answer: Answer) -> list[dict[str, Any]]:
    network = lab.network
    if not isinstance(network, Ensemble):
        return []
    shares, classes = answer.experts.max(1)
    weights = [None] * len(shares) if answer.weights is None else answer.weights.tolist()
    rows = zip(network.expert_names, classes.tolist(), shares.tolist(), weights, strict=True)
    return [
        {"name": name, "class": names[k], "probability": share, "weight": weight}
        for name, k, share, weight in rows
    ]


def _gate(lab: Lab, lessons: GateLessons, answer: Answer) -> dict[str, Any]:
    """Return what the gate did, if there is one."""
    if answer.weights is None or not isinstance(lab.network, Ensemble):
        return {"gate": "", "taken_for": []}
    weights = dict(zip(lab.network.expert_names, answer.weights.tolist(), strict=True))
    return {"gate": gate_decision(weights), "taken_for": [*lessons.taken_for(weights)]}


def _difference(change: Tensor) -> dict[str, Any] | None:
    """Return the magnified difference around grey; None if nothing changed."""
    values = change.float().numpy()
    if not values.any():
        return None
    factor = magnification(values)
    return {"picture": exact_address(magnified(values, factor)), "factor": factor}


def _norm(change: Tensor, order: float) -> float:
    return float(torch.linalg.vector_norm(change.double().flatten(), order))
