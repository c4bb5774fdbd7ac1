"""Evaluation: every model under every attack of a suite, one boolean per example and attack.

A model is a callable from images in [0, 1] to logits, however it was made. Every attack sees the
whole model in evaluation mode. Every image that it returns is checked: the perturbation must allow
it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from morex.artifacts.notes import NoteBook, What
from morex.artifacts.origins import Origin
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.attacks import Model, frozen
from morex.attacks.base import labels_among
from morex.core.plain import plain
from morex.core.precision import Precision, exact_settings, resolved
from morex.core.threads import threads_for
from morex.data import ImageSet
from morex.data.given import Given, images_for
from morex.evaluation.attacked import Answers, Attacked, attacked
from morex.evaluation.compiling import compiled_where_it_pays
from morex.evaluation.feasibility import balls_of
from morex.evaluation.settings import Settings
from morex.evaluation.suite import Row, Suite, table1


def evaluate(
    model: Model,
    data: Given,
    suite: Suite | None = None,
    *,
    seed: int = 0,
    batch_size: int = 256,
    search_precision: Precision = "fp32",
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
        search_precision: number format in which attacks see the model: ``fp32``, ``bf16``, or
            ``auto``, which is bf16 where the device is fast at it. What an attack finds is judged
            in float32. An image that fools only the rounded model is attacked again in float32.
            AutoAttack, draws and grids always search in float32.
        done: results of an earlier, interrupted evaluation, by row: what ``keep`` got last.
        keep: called after every batch with the name of the row and its results so far, which cover
            its first examples and finally all of them.
        notes: where notes are written, before ``keep`` is called; they continue those of the
            earlier evaluation.

    Returns:
        One boolean per row and example: True where the model is right. With them is what decided
        them apart from the model: digests of the images, the attack, ``seed``,
        ``batch_size`` and ``search_precision``. Notes say on how many images of a row an answer was
        not finite, a gradient was not finite or zero, and a second search was needed.

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
    settings = Settings(seed, batch_size, resolved(search_precision, data.device))
    batch = (batch_size, *data.shape)
    with (
        threads_for(model, batch, data.device),
        exact_settings(data.device),
        frozen(model),
        compiled_where_it_pays(model, suite, data, settings),
        labels_among(data.labels),
    ):
        clean = Answers.on(model, data, batch_size)
        for row in suite:
            known = right.get(row.name, np.zeros(0, np.bool_))
            for so_far in _attacked(model, data, row, clean, known, settings, book):
                right[row.name] = so_far
                if keep:
                    keep(row.name, so_far)
    origins = _origins(data, suite, settings)
    names = [row.name for row in suite]
    return Outcomes({name: right[name] for name in names}, origins, book.on(names))


def _origins(data: ImageSet, suite: Suite, settings: Settings) -> dict[str, Origin]:
    """Return what decides each row apart from the model."""
    counts = {row.count(len(data)) for row in suite}
    digests = {count: data.digests(count) for count in counts}
    return {row.name: _origin(row, settings, digests[row.count(len(data))]) for row in suite}


def _origin(row: Row, settings: Settings, images: dict[int, str]) -> Origin:
    """Return what decides a row apart from the model; float32 is not written down."""
    how: dict[str, Any] = {"seed": settings.seed, "batch_size": settings.batch_size}
    if (precision := settings.searched_in(row.attack)) != "fp32":
        how["search_precision"] = precision
    return Origin(attack=plain(row.attack), images=images, **how)


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


class _Seen:
    """What is seen in a row: where the model is right, and what is worth a note, (n,) of bool."""

    def __init__(self, clean: Answers, n: int, known: BoolArray, in_balls: bool) -> None:
        self.start = len(known)
        self.right = clean.right[:n].clone()
        self.right[: self.start] = torch.tensor(known, device=self.right.device)
        # an image that needs no attack in a ball is not looked at again
        odd = ~clean.finite[:n] if in_balls else torch.zeros_like(self.right)
        self.noticed: dict[What, Tensor] = {
            "answers not finite": odd,
            "gradients not finite": torch.zeros_like(odd),
            "gradients zero": torch.zeros_like(odd),
            "fooled in bfloat16 only": torch.zeros_like(odd),
        }

    def add(self, rows: Tensor, found: Attacked) -> None:
        """Add what was seen of some images."""
        self.right[rows] = found.answers.right
        self.noticed["answers not finite"][rows] = ~found.answers.finite
        self.noticed["gradients not finite"][rows] = found.not_finite
        self.noticed["gradients zero"][rows] = found.zero
        self.noticed["fooled in bfloat16 only"][rows] = found.again

    def counts(self, end: int) -> dict[What, int]:
        """Return on how many images before ``end``, which were not known before, it was noticed."""
        counts = torch.stack([*self.noticed.values()])[:, self.start : end].sum(1).tolist()
        return dict(zip(self.noticed, counts, strict=True))


def _attacked(
    model: Model,
    data: ImageSet,
    row: Row,
    clean: Answers,
    known: BoolArray,
    settings: Settings,
    book: NoteBook,
) -> Iterator[BoolArray]:
    """Attack the remaining batches; after each one, yield where the model is right so far."""
    n = row.count(len(data))
    balls = balls_of(row.attack.perturbation)
    seen = _Seen(clean, n, known, bool(balls))
    every = torch.arange(n, device=data.device)
    batches = torch.split(every[clean.right[:n]] if balls else every, settings.batch_size)
    # a batch covers all images up to the first one of the next batch
    ends = [*torch.stack([rows[0] for rows in batches[1:]]).tolist(), n] if batches[1:] else [n]
    before = {what: book.count(row.name, what) for what in seen.noticed}
    for batch, (rows, end) in enumerate(zip(batches, ends, strict=True)):
        if end <= len(known):
            continue
        if len(rows):  # else no image is left to attack; some models cannot take an empty batch
            seen.add(rows, attacked(model, data, row, rows, settings, batch))
        for what, count in seen.counts(end).items():
            book.write(row.name, what, before[what] + count, n)
        so_far: BoolArray = seen.right[:end].cpu().numpy()
        yield so_far
