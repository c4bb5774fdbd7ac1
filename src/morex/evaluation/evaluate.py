"""Evaluation: every model under every attack of a suite, one boolean per example and attack.

A model is a callable from images in [0, 1] to logits, however it was made. Every attack sees the
whole model in evaluation mode. Every image that it returns is checked: the perturbation must allow
it.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from morex.artifacts.origins import Origin
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.attacks import Model, SearchAround, frozen, is_right
from morex.core.plain import plain
from morex.core.precision import exact_settings
from morex.core.seeding import generator_for
from morex.core.threads import threads_for
from morex.data import ImageSet
from morex.evaluation.feasibility import balls_of, check_feasible
from morex.evaluation.suite import Row, Suite, table1


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

    An image that the model gets wrong without any attack counts as wrong in every ball, because
    the image itself is in the ball. Settings of PyTorch at the place of the call, such as autocast,
    do not reach the evaluation. A small model on a CPU is attacked with one thread, unless you
    chose a number (``morex.core.threads``).

    Args:
        model: images (N, C, H, W) in [0, 1] to logits (N, K), on the device of the data.
        data: the test images; rows of fewer examples take the first ones.
        suite: the attacks; ``table1()`` by default.
        seed: of all random draws; transforms get the same draws for every model.
        batch_size: images attacked at a time; random draws depend on it.
        done: results of an earlier, interrupted evaluation, by row: what ``keep`` got last.
        keep: called after every batch with the name of the row and its results so far, which cover
            its first examples and finally all of them.

    Returns:
        One boolean per row and example: True where the model is right. With them is what decided
        them apart from the model: digests of the images, the attack, ``seed`` and ``batch_size``.

    Raises:
        ValueError: if ``batch_size`` is below 1, there is no row, two rows have the same name,
            ``Outcomes`` does not accept a name, or ``done`` holds more examples of a row than it
            has.
        InfeasibleError: if an attack returns an image outside its ball or [0, 1].
    """
    suite = table1() if suite is None else suite
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if len({row.name for row in suite}) < len(suite):
        raise ValueError(f"rows need different names, got {[row.name for row in suite]}")
    # bad names raise here, before any work
    Outcomes({row.name: np.ones(1, np.bool_) for row in suite})
    right = dict(done or {})
    _check_done(right, suite, len(data))
    batch = (batch_size, *data.shape)
    with threads_for(model, batch, data.device), exact_settings(data.device), frozen(model):
        right_on_clean = _right_on_clean(model, data, batch_size)
        for row in suite:
            known = right.get(row.name, np.zeros(0, np.bool_))
            batches = _attacked(model, data, row, right_on_clean, known, seed, batch_size)
            for so_far in batches:
                right[row.name] = so_far
                if keep:
                    keep(row.name, so_far)
    origins = _origins(data, suite, seed, batch_size)
    return Outcomes({row.name: right[row.name] for row in suite}, origins)


def _origins(data: ImageSet, suite: Suite, seed: int, batch_size: int) -> dict[str, Origin]:
    """Return what decides each row apart from the model."""
    counts = {row.count(len(data)) for row in suite}
    digests = {count: data.digests(count) for count in counts}
    return {
        row.name: Origin(
            attack=plain(row.attack),
            seed=seed,
            batch_size=batch_size,
            images=digests[row.count(len(data))],
        )
        for row in suite
    }


def _check_done(done: Mapping[str, BoolArray], suite: Suite, images: int) -> None:
    """Raise if a result cannot be one of this suite on this many images."""
    for row in suite:
        known, count = done.get(row.name), row.count(images)
        if known is not None and (known.dtype != np.bool_ or known.ndim != 1 or len(known) > count):
            raise ValueError(
                f"done: expected at most {count} booleans for the row {row.name!r}, got "
                f"{known.dtype} of shape {known.shape}; remove it, or evaluate the data and suite "
                "that it came from"
            )


def _right_on_clean(model: Model, data: ImageSet, batch_size: int) -> Tensor:
    """Return which images the model gets right without an attack, (N,)."""
    starts = range(0, len(data), batch_size)
    rows = [slice(start, start + batch_size) for start in starts]
    return torch.cat([is_right(model, data.pixels(r), data.labels[r]) for r in rows])


def _attacked(
    model: Model,
    data: ImageSet,
    row: Row,
    right_on_clean: Tensor,
    known: BoolArray,
    seed: int,
    batch_size: int,
) -> Iterator[BoolArray]:
    """Attack the remaining batches; after each one, yield where the model is right so far."""
    n = row.count(len(data))
    right = right_on_clean[:n].clone()
    known = known[:n]
    right[: len(known)] = torch.tensor(known, device=data.device)
    balls = balls_of(row.attack.perturbation)
    every = torch.arange(n, device=data.device)
    attacked = every[right_on_clean[:n]] if balls else every
    batches = torch.split(attacked, batch_size)
    # a batch covers all images up to the first one of the next batch
    ends = [*(int(following[0]) for following in batches[1:]), n]
    for batch, (rows, end) in enumerate(zip(batches, ends, strict=True)):
        if end <= len(known):
            continue
        if not len(rows):  # no image is left to attack; some models cannot take an empty batch
            yield right[:end].cpu().numpy()
            return
        x, y = data.pixels(rows), data.labels[rows]
        draw = partial(generator_for, seed, "evaluation", row.name, batch, device=data.device)
        moved = row.attack(model, x, y, generator=draw())
        # pixels are read again: the attack may have changed the images that it was given
        right[rows] = _judged(model, row, data.pixels(rows), y, moved, draw())
        so_far: BoolArray = right[:end].cpu().numpy()
        yield so_far


def _judged(
    model: Model, row: Row, x: Tensor, y: Tensor, moved: Tensor, generator: torch.Generator
) -> Tensor:
    """Check x' and return where the model is right, (N,).

    In a composition the centre of the ball is the transformed x, drawn again from a generator equal
    to the attack's. The centre is in the ball too, so the model must be right about it as well.
    """
    attack = row.attack
    if not isinstance(attack, SearchAround):
        check_feasible(attack.perturbation, x, moved, row.name)
        return is_right(model, moved, y)
    centres = attack.centres(x, generator)
    check_feasible(attack.perturbation.ball, centres, moved, row.name)
    return is_right(model, moved, y) & is_right(model, centres, y)
