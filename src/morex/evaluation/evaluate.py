"""Evaluation: every model under every attack of a suite, one boolean per example and attack.

A model is a callable from images in [0, 1] to logits, however it was made. Every attack sees the
whole model in evaluation mode. Every image that it returns is checked: the perturbation must allow
it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from morex.artifacts.notes import NoteBook
from morex.artifacts.origins import Origin
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.pieces import Piece, Pieces
from morex.artifacts.statistics import BoolArray
from morex.attacks import Model, frozen
from morex.attacks.base import labels_among
from morex.core.plain import plain
from morex.core.precision import Precision, exact_settings, resolved
from morex.core.threads import threads_for
from morex.data import ImageSet
from morex.data.given import Given, images_for
from morex.evaluation.attacked import Answers
from morex.evaluation.batches import (
    Batch,
    Part,
    attack_batch,
    batches_of,
    digest_of_batches,
    share_of,
)
from morex.evaluation.compiling import compiled_where_it_pays
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
    parts: Iterable[Pieces] = (),
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
        parts: what ``evaluate_part`` found with the same arguments; it is not attacked again.

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
        ImportError: if an attack needs a package that is not installed.
        InfeasibleError: if an attack returns an image outside its ball or [0, 1].
    """
    suite = table1() if suite is None else suite
    data = images_for(model, data)
    _check(suite, batch_size)
    right, book = dict(done or {}), NoteBook() if notes is None else notes
    _check_done(right, suite, len(data))
    settings = Settings(seed, batch_size, resolved(search_precision, data.device))
    with _ready(model, data, suite, settings) as clean:
        pieces = Pieces.joined(digest_of_batches(clean, settings), parts)
        for row in suite:
            known = right.get(row.name, np.zeros(0, np.bool_))
            doing = _Row(model, data, row, clean, settings, book)
            for so_far in doing.attacked(known, pieces):
                right[row.name] = so_far
                if keep:
                    keep(row.name, so_far)
    origins = _origins(data, suite, settings)
    names = [row.name for row in suite]
    return Outcomes({name: right[name] for name in names}, origins, book.on(names))


def evaluate_part(
    model: Model,
    data: Given,
    suite: Suite,
    part: Part,
    *,
    seed: int = 0,
    batch_size: int = 256,
    search_precision: Precision = "fp32",
    done: Mapping[str, BoolArray] | None = None,
    begun: Pieces | None = None,
    known: Iterable[Pieces] = (),
    keep: Callable[[Pieces, float], None] | None = None,
) -> Pieces:
    """Attack one part of all batches of an evaluation: ``evaluate`` puts the parts together.

    The parts may be attacked in any order and on several machines. ``evaluate`` with the same
    arguments, and with ``parts``, returns what it would return without them, to the last bit on
    machines of the same kind. A part that was made where the model is right on other images without
    an attack does not fit, and is not used.

    Args:
        model, data, suite, seed, batch_size, search_precision, done: as for ``evaluate``.
        part: which part, of how many.
        begun: what ``keep`` got last before the part was interrupted.
        known: what other parts have; it is not attacked again.
        keep: called after every batch with the pieces so far, and with the share of the part's
            batches that is done.

    Returns:
        The pieces of this part that others do not have.

    Raises:
        ValueError, InfeasibleError: as ``evaluate``.
    """
    data = images_for(model, data)
    _check(suite, batch_size)
    _check_done(done or {}, suite, len(data))
    settings = Settings(seed, batch_size, resolved(search_precision, data.device))
    started = time.monotonic()
    with _ready(model, data, suite, settings) as clean:
        label = digest_of_batches(clean, settings)
        found, others = Pieces.joined(label, [begun] if begun else []), Pieces.joined(label, known)
        before = found.seconds
        batches = share_of(part, model, suite, data, clean, batch_size)
        for number, batch in enumerate(batches, 1):
            end = len((done or {}).get(batch.row.name, ()))
            if batch.end > end and batch.key not in found.found.keys() | others.found.keys():
                found.found[batch.key] = attack_batch(model, data, batch, clean, settings, end)
            found.seconds = before + time.monotonic() - started
            if keep:
                keep(found, number / len(batches))
    return found


def _check(suite: Suite, batch_size: int) -> None:
    """Raise if a batch or the rows cannot be."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not all(isinstance(row, Row) for row in suite):
        raise ValueError(
            f"suite: expected rows, such as table1() or morex.recipe.load_suite('union').suite(), "
            f"got {suite!r}"
        )
    if len({row.name for row in suite}) < len(suite):
        raise ValueError(f"rows need different names, got {[row.name for row in suite]}")
    # bad names and missing packages raise here, before any work
    Outcomes({row.name: np.ones(1, np.bool_) for row in suite})
    for row in suite:
        row.attack.check_installed()


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


@contextmanager
def _ready(model: Model, data: ImageSet, suite: Suite, settings: Settings) -> Iterator[Answers]:
    """Make everything ready for attacks within the block; yield the answers to unattacked images.

    Parts get the whole suite, so that all of them execute the model in the same way.
    """
    batch = (settings.batch_size, *data.shape)
    with (
        threads_for(model, batch, data.device),
        exact_settings(data.device),
        frozen(model),
        compiled_where_it_pays(model, suite, data, settings),
        labels_among(data.labels),
    ):
        yield Answers.on(model, data, settings.batch_size)


@dataclass(frozen=True)
class _Row:
    """A row that is attacked, or continued."""

    model: Model
    data: ImageSet
    row: Row
    clean: Answers
    settings: Settings
    book: NoteBook

    def attacked(self, known: BoolArray, pieces: Pieces) -> Iterator[BoolArray]:
        """Do the remaining batches; after each one, yield where the model is right so far."""
        n = self.row.count(len(self.data))
        right = np.zeros(n, np.bool_)
        right[: len(known)] = known
        for batch in batches_of(self.row, self.clean, self.settings.batch_size):
            if batch.end <= len(known):
                continue
            piece = pieces.found.get(batch.key) or self._piece(batch, len(known))
            right[batch.start : batch.end] = piece.right
            for what, count in piece.noticed.items():
                name = self.row.name
                self.book.write(name, what, self.book.count(name, what) + count, n)
            yield right[: batch.end].copy()

    def _piece(self, batch: Batch, known: int) -> Piece:
        return attack_batch(self.model, self.data, batch, self.clean, self.settings, known)
