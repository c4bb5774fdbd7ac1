"""What a lower precision costs in accuracy, without an attack and under one."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from morex.artifacts.statistics import BoolArray, Comparison
from morex.attacks import PGD, Attack, frozen
from morex.core.precision import exact_settings
from morex.core.seeding import generator_for
from morex.core.threads import threads_for
from morex.data import ImageSet
from morex.deploy.export import Exported
from morex.evaluation.suite import Row, Suite

STEPS = 20
"""Of PGD on the model."""


def accuracy_cost(
    model: nn.Module, exported: Exported, images: ImageSet, suite: Suite, *, batch: int = 100
) -> dict[str, Comparison]:
    """Compare a file with its model on test images as they are, and attacked by PGD in each ball.

    PGD attacks the model in float32, and what it finds is given to both: for the file these are
    transferred attacks. The search goes on after the model is fooled, since an image that barely
    fools the model need not fool the file. An attacker who knows the file may find more.

    Args:
        model: the model, in evaluation mode on the device of the images.
        exported: the file.
        images: test images.
        suite: the rows whose balls are attacked.
        batch: how many images are attacked at a time.

    Returns:
        A comparison for each row; ``first`` is the model and ``second`` the file.
    """
    size = (batch, *images.shape)
    with threads_for(model, size, images.device), exact_settings(images.device), frozen(model):
        return {
            name: _compared(model, exported, images, attack, name, batch)
            for name, attack in _attacks(suite).items()
        }


def _attacks(suite: Suite) -> Mapping[str, Attack | None]:
    """Return PGD in every ball that a suite attacks, after no attack at all."""
    rows: Iterator[Row] = (row for row in suite if isinstance(row.attack, PGD))
    balls = dict.fromkeys(ball for row in rows for ball in row.attack.balls)  # type: ignore[attr-defined]
    found: dict[str, Attack | None] = {"clean": None}
    return found | {f"PGD {ball}": PGD(ball, STEPS) for ball in balls}


def _compared(
    model: nn.Module,
    exported: Exported,
    images: ImageSet,
    attack: Attack | None,
    name: str,
    batch: int,
) -> Comparison:
    run, right = exported.runner(), list[tuple[BoolArray, BoolArray]]()
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        x, y = images.pixels(rows), images.labels[rows]
        if attack:
            generator = generator_for(0, "exported", name, start, device=images.device)
            x = attack.search(model, x, y, generator).detach()
        correct = partial(_correct, y=y.cpu())
        with torch.no_grad():
            right.append((correct(model(x)), correct(run(exported.form.given(x.cpu()))["logits"])))
    whole = [np.concatenate(part) for part in zip(*right, strict=True)]
    return Comparison.of(*whole)


def _correct(logits: Tensor, y: Tensor) -> BoolArray:
    found: BoolArray = (logits.cpu().argmax(1) == y).numpy()
    return found
