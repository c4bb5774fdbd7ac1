"""Evaluation: every model under every attack of a suite, one boolean per example and attack.

Nothing here knows how a model was made: it is a callable from images in [0, 1] to logits. Every
attack sees the whole model in evaluation mode, and every image that it returns is audited before it
counts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from morex.attacks import (
    PGD,
    Attack,
    DeepFool,
    Model,
    RayS,
    SearchAround,
    WorstOfDraws,
    frozen,
    is_right,
)
from morex.data import ImageSet
from morex.outcomes import BoolArray, Outcomes
from morex.perturbations import L2, Ball, Clean, Fog, Linf, Perturbation, Snow
from morex.precision import exact_float32
from morex.randomness import generator_for

_L2, _LINF, _FOG, _SNOW = L2(1.0), Linf(8 / 255), Fog(t=0.15, light=0.6), Snow(darkness=2.5)

TOLERANCE = 1e-5
"""How far, relative to eps, rounding may carry an image out of its ball."""


@dataclass(frozen=True)
class Row:
    """One attack of a suite.

    Args:
        name: the row's name in tables.
        attack: what is done to the images.
        examples: how many of the first test images it is done to; None for all.

    Raises:
        ValueError: if ``examples`` is below 1.
    """

    name: str
    attack: Attack
    examples: int | None = None

    def __post_init__(self) -> None:
        """Check the number of examples."""
        if self.examples is not None and self.examples < 1:
            raise ValueError(f"row {self.name!r}: examples must be at least 1, got {self.examples}")

    def count(self, available: int) -> int:
        """Return how many examples the row covers of those that there are."""
        return available if self.examples is None else min(self.examples, available)


Suite = tuple[Row, ...]


class AuditError(RuntimeError):
    """An attack returned an image that it may not return."""


def table1(
    *,
    l2: L2 = _L2,
    linf: Linf = _LINF,
    fog: Fog = _FOG,
    snow: Snow = _SNOW,
    steps: int = 20,
    queries: int = 10_000,
    rays_examples: int | None = None,
) -> Suite:
    """Return the nine rows of the paper's Table 1, at its strengths by default.

    Args:
        l2: the L2 ball of three of the attacks.
        linf: the Linf ball of three of the attacks.
        fog: the fog.
        snow: the snow.
        steps: of PGD.
        queries: of RayS, per example.
        rays_examples: number of images for RayS, by far the slowest; None for all.
    """
    return (
        Row("clean", WorstOfDraws(Clean())),
        Row("deepfool-l2", DeepFool(l2)),
        Row("deepfool-linf", DeepFool(linf)),
        Row("pgd-l2", PGD(l2, steps=steps, stop_when_fooled=True)),
        Row("pgd-linf", PGD(linf, steps=steps, stop_when_fooled=True)),
        Row("rays-l2", RayS(l2, queries=queries), rays_examples),
        Row("rays-linf", RayS(linf, queries=queries), rays_examples),
        Row("fog", WorstOfDraws(fog)),
        Row("snow", WorstOfDraws(snow)),
    )


def evaluate(
    model: Model,
    data: ImageSet,
    suite: Suite | None = None,
    *,
    seed: int = 0,
    batch_size: int = 256,
    done: Mapping[str, BoolArray] | None = None,
    keep: Callable[[str, BoolArray], None] | None = None,
) -> Outcomes:
    """Attack ``model`` on ``data`` with every row of ``suite`` and return where it is still right.

    An image that the model gets wrong as it is counts as wrong in every ball without an attack: the
    image itself is in the ball.

    Args:
        model: images (N, C, H, W) in [0, 1] to logits (N, K), on the device of the data.
        data: the test images; rows of fewer examples take the first ones.
        suite: the attacks; ``table1()`` by default.
        seed: of the attacks' random draws; those of transforms are the same for every model.
        batch_size: images attacked at a time; random draws depend on it.
        done: what is already known, by name of the row: what ``keep`` was given last.
        keep: called after every batch with the name of the row and what is known of it, which is
            its first examples, and in the end all of them.

    Returns:
        One boolean per row and example: True where the model is right.

    Raises:
        ValueError: if ``batch_size`` is below 1, there is no row, two rows have one name, or a
            name is not one that ``Outcomes`` takes.
        AuditError: if an attack returns an image outside its ball or [0, 1].
    """
    suite = table1() if suite is None else suite
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if len({row.name for row in suite}) < len(suite):
        raise ValueError(f"rows need different names, got {[row.name for row in suite]}")
    Outcomes({row.name: np.ones(1, np.bool_) for row in suite})  # refuse bad names before the work
    right = dict(done or {})
    with exact_float32(), frozen(model):
        right_as_they_are = _clean(model, data, batch_size)
        for row in suite:
            known = right.get(row.name, np.zeros(0, np.bool_))
            batches = _attacked(model, data, row, right_as_they_are, known, seed, batch_size)
            for so_far in batches:
                right[row.name] = so_far
                if keep:
                    keep(row.name, so_far)
    return Outcomes({row.name: right[row.name] for row in suite})


def _clean(model: Model, data: ImageSet, batch_size: int) -> Tensor:
    """Return which images the model gets right as they are, (N,)."""
    starts = range(0, len(data), batch_size)
    rows = [slice(start, start + batch_size) for start in starts]
    return torch.cat([is_right(model, data.pixels(r), data.labels[r]) for r in rows])


def _attacked(
    model: Model,
    data: ImageSet,
    row: Row,
    right_as_they_are: Tensor,
    known: BoolArray,
    seed: int,
    batch_size: int,
) -> Iterator[BoolArray]:
    """Attack the batches that are not known; yield where the model is right, as far as is known."""
    n = row.count(len(data))
    right = right_as_they_are[:n].clone()
    known = known[:n]
    right[: len(known)] = torch.tensor(known, device=data.device)
    balls = _balls(row.attack.perturbation)
    all_of_them = torch.arange(n, device=data.device)
    attacked = all_of_them[right_as_they_are[:n]] if balls else all_of_them
    batches = torch.split(attacked, batch_size)
    # the end of a batch's examples is that of the images up to the next batch
    ends = [*(int(following[0]) for following in batches[1:]), n]
    for batch, (rows, end) in enumerate(zip(batches, ends, strict=True)):
        if end <= len(known):
            continue
        x, y = data.pixels(rows), data.labels[rows]
        draw = partial(generator_for, seed, "evaluation", row.name, batch, device=data.device)
        moved = row.attack(model, x, y, generator=draw())
        # against the data's own images: the attack may have changed those that it was given
        right[rows] = _judged(model, row, data.pixels(rows), y, moved, draw())
        so_far: BoolArray = right[:end].cpu().numpy()
        yield so_far


def _judged(
    model: Model, row: Row, x: Tensor, y: Tensor, moved: Tensor, generator: torch.Generator
) -> Tensor:
    """Audit x' and return where the model is right, (N,).

    In a composition the centre of the ball is what the transform makes of x, drawn once more from a
    generator equal to the attack's. It is in the ball itself, so it has to be right as well.
    """
    attack = row.attack
    if not isinstance(attack, SearchAround):
        audit(attack.perturbation, x, moved, row.name)
        return is_right(model, moved, y)
    centres = attack.centres(x, generator)
    audit(attack.perturbation.ball, centres, moved, row.name)
    return is_right(model, moved, y) & is_right(model, centres, y)


def audit(
    perturbation: Perturbation | tuple[Perturbation, ...], x: Tensor, moved: Tensor, name: str
) -> None:
    """Check that every x' is finite, in [0, 1], and, for balls, in one of the balls.

    Raises:
        AuditError: otherwise, with the worst offender.
    """
    if moved.shape != x.shape or not bool(moved.isfinite().all()):
        raise AuditError(f"{name}: returned images that are not finite or of another shape")
    if len(moved) and (moved.amin() < 0 or moved.amax() > 1):
        raise AuditError(f"{name}: returned pixels in [{moved.amin():.4g}, {moved.amax():.4g}]")
    balls = _balls(perturbation)
    if balls and len(moved):
        beyond = torch.stack([b.norm(moved - x) - b.eps * (1 + TOLERANCE) for b in balls])
        farthest = float(beyond.amin(0).amax())  # of each image to the nearest ball
        if farthest > TOLERANCE:
            union = " and ".join(map(str, balls))
            raise AuditError(f"{name}: returned an image {farthest:.4g} outside {union}")


def _balls(perturbation: Perturbation | tuple[Perturbation, ...]) -> tuple[Ball, ...]:
    """Return the balls whose union is searched; none if a transform is among what is searched."""
    parts = perturbation if isinstance(perturbation, tuple) else (perturbation,)
    balls = tuple(part for part in parts if isinstance(part, Ball))
    return balls if len(balls) == len(parts) else ()
