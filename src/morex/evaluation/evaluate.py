"""Evaluation: every model under every attack of a suite, one boolean per example and attack.

A model is a callable from images in [0, 1] to logits, however it was made. Every attack sees the
whole model in evaluation mode. Every image that it returns is checked: the perturbation must allow
it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from morex.artifacts.notes import NoteBook, What
from morex.artifacts.origins import Origin
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.attacks import Model, SearchAround, fooled, frozen
from morex.attacks.gradients import Watch, watched
from morex.core.plain import plain
from morex.core.precision import exact_settings
from morex.core.seeding import generator_for
from morex.core.threads import threads_for
from morex.data import ImageSet
from morex.data.given import Given, images_for
from morex.evaluation.feasibility import balls_of, check_feasible
from morex.evaluation.suite import Row, Suite, table1


def evaluate(
    model: Model,
    data: Given,
    suite: Suite | None = None,
    *,
    seed: int = 0,
    batch_size: int = 256,
    done: Mapping[str, BoolArray] | None = None,
    keep: Callable[[str, BoolArray], None] | None = None,
    notes: NoteBook | None = None,
) -> Outcomes:
    """Attack ``model`` on ``data`` with every row of ``suite`` and return where it is still right.

    An image that the model gets wrong without any attack counts as wrong in every ball, because
    the image itself is in the ball. Settings of PyTorch at the place of the call, such as autocast,
    do not reach the evaluation. A small model on a CPU is attacked with one thread, unless you
    chose a number (``morex.core.threads``).

    Args:
        model: images (N, C, H, W) in [0, 1] to logits (N, K). An ``ImageSet`` must be on its
            device; other data is moved there.
        data: the test images: an ``ImageSet``, ``(images, labels)``, a ``Dataset`` or a
            ``DataLoader`` (see ``morex.data.as_image_set``). Rows of fewer examples take the first
            ones.
        suite: the attacks; ``table1()`` by default.
        seed: of all random draws; transforms get the same draws for every model.
        batch_size: images attacked at a time; random draws depend on it.
        done: results of an earlier, interrupted evaluation, by row: what ``keep`` got last.
        keep: called after every batch with the name of the row and its results so far, which cover
            its first examples and finally all of them.
        notes: where notes are written, before ``keep`` is called; they continue those of the
            earlier evaluation.

    Returns:
        One boolean per row and example: True where the model is right. With them is what decided
        them apart from the model: digests of the images, the attack, ``seed`` and ``batch_size``.
        Notes say on how many images of a row an answer was not finite, and a gradient was not
        finite or zero.

    Raises:
        ValueError: if the data cannot be used, ``batch_size`` is below 1, the model returns no
            logits of two or more classes, a label is not among them, an attack cannot run on it,
            there is no row, two rows have the same name, ``Outcomes`` does not accept a name, or
            ``done`` holds more examples of a row than it has.
        InfeasibleError: if an attack returns an image outside its ball or [0, 1].
    """
    suite = table1() if suite is None else suite
    data = images_for(model, data)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if len({row.name for row in suite}) < len(suite):
        raise ValueError(f"rows need different names, got {[row.name for row in suite]}")
    # bad names raise here, before any work
    Outcomes({row.name: np.ones(1, np.bool_) for row in suite})
    right, book = dict(done or {}), NoteBook() if notes is None else notes
    _check_done(right, suite, len(data))
    batch = (batch_size, *data.shape)
    with threads_for(model, batch, data.device), exact_settings(data.device), frozen(model):
        clean = _Answers.on(model, data, batch_size)
        for row in suite:
            known = right.get(row.name, np.zeros(0, np.bool_))
            for so_far in _attacked(model, data, row, clean, known, seed, batch_size, book):
                right[row.name] = so_far
                if keep:
                    keep(row.name, so_far)
    origins = _origins(data, suite, seed, batch_size)
    names = [row.name for row in suite]
    return Outcomes({name: right[name] for name in names}, origins, book.on(names))


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


@dataclass(frozen=True)
class _Answers:
    """Where a model is right, and where its answer is finite, (N,) of bool."""

    right: Tensor
    finite: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: Model, x: Tensor, y: Tensor) -> Self:
        """Ask for the answers to some images."""
        logits = model(x)
        return cls(~fooled(logits, y), logits.isfinite().all(1))

    @classmethod
    def on(cls, model: Model, data: ImageSet, batch_size: int) -> Self:
        """Ask for the answers to all images as they are."""
        starts = range(0, len(data), batch_size)
        rows = [slice(start, start + batch_size) for start in starts]
        parts = [cls.of(model, data.pixels(r), data.labels[r]) for r in rows]
        return cls(torch.cat([p.right for p in parts]), torch.cat([p.finite for p in parts]))

    def and_on(self, other: Self) -> Self:
        """Return where both are right, and both are finite."""
        return type(self)(self.right & other.right, self.finite & other.finite)


class _Seen:
    """What is seen in a row: where the model is right, and what is worth a note, (n,) of bool."""

    def __init__(self, clean: _Answers, n: int, known: BoolArray, in_balls: bool) -> None:
        self.start = len(known)
        self.right = clean.right[:n].clone()
        self.right[: self.start] = torch.tensor(known, device=self.right.device)
        # an image that needs no attack in a ball is not looked at again
        odd = ~clean.finite[:n] if in_balls else torch.zeros_like(self.right)
        self.noticed: dict[What, Tensor] = {
            "answers not finite": odd,
            "gradients not finite": torch.zeros_like(odd),
            "gradients zero": torch.zeros_like(odd),
        }

    def add(self, rows: Tensor, answers: _Answers, watch: Watch) -> None:
        """Add what was seen of some images."""
        self.right[rows] = answers.right
        self.noticed["answers not finite"][rows] = ~answers.finite
        self.noticed["gradients not finite"][rows] = watch.not_finite
        self.noticed["gradients zero"][rows] = watch.zero

    def counts(self, end: int) -> dict[What, int]:
        """Return on how many images before ``end``, which were not known before, it was noticed."""
        return {what: int(where[self.start : end].sum()) for what, where in self.noticed.items()}


def _attacked(
    model: Model,
    data: ImageSet,
    row: Row,
    clean: _Answers,
    known: BoolArray,
    seed: int,
    batch_size: int,
    book: NoteBook,
) -> Iterator[BoolArray]:
    """Attack the remaining batches; after each one, yield where the model is right so far."""
    n = row.count(len(data))
    balls = balls_of(row.attack.perturbation)
    seen = _Seen(clean, n, known, bool(balls))
    every = torch.arange(n, device=data.device)
    attacked = every[clean.right[:n]] if balls else every
    batches = torch.split(attacked, batch_size)
    # a batch covers all images up to the first one of the next batch
    ends = [*(int(following[0]) for following in batches[1:]), n]
    before = {what: book.count(row.name, what) for what in seen.noticed}
    for batch, (rows, end) in enumerate(zip(batches, ends, strict=True)):
        if end <= len(known):
            continue
        if len(rows):  # else no image is left to attack; some models cannot take an empty batch
            _attack(model, data, row, rows, seen, seed, batch)
        for what, count in seen.counts(end).items():
            book.write(row.name, what, before[what] + count, n)
        so_far: BoolArray = seen.right[:end].cpu().numpy()
        yield so_far


def _attack(
    model: Model,
    data: ImageSet,
    row: Row,
    rows: Tensor,
    seen: _Seen,
    seed: int,
    batch: int,
) -> None:
    """Attack one batch and add what is seen; its number decides the random draws."""
    x, y = data.pixels(rows), data.labels[rows]
    draw = partial(generator_for, seed, "evaluation", row.name, batch, device=data.device)
    with watched(x) as watch:
        moved = row.attack(model, x, y, generator=draw())
    # pixels are read again: the attack may have changed the images that it was given
    seen.add(rows, _judged(model, row, data.pixels(rows), y, moved, draw()), watch)


def _judged(
    model: Model, row: Row, x: Tensor, y: Tensor, moved: Tensor, generator: torch.Generator
) -> _Answers:
    """Check x' and return the model's answers to it.

    In a composition the centre of the ball is the transformed x, drawn again from a generator equal
    to the attack's. The centre is in the ball too, so the model must be right about it as well.
    """
    attack = row.attack
    if not isinstance(attack, SearchAround):
        check_feasible(attack.perturbation, x, moved, row.name)
        return _Answers.of(model, moved, y)
    centres = attack.centres(x, generator)
    check_feasible(attack.perturbation.ball, centres, moved, row.name)
    return _Answers.of(model, moved, y).and_on(_Answers.of(model, centres, y))
