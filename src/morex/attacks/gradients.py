"""Gradients as searches use them: finite, and counted where somebody watches.

A gradient may be infinite or not a number where the model itself is fine: the square root of a
black pixel has an infinite slope. One such pixel must not end a search. An evaluation watches its
attacks, so that it can report on how many images gradients were of no use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


class Watch:
    """On which images of a batch gradients were not finite, or were zero.

    Args:
        x: the batch, (N, C, H, W).

    Attributes:
        not_finite: images with an infinite or undefined derivative, (N,) of bool.
        zero: images with a gradient of exactly zero before they were fooled, (N,) of bool.
    """

    def __init__(self, x: Tensor) -> None:
        self.rows = torch.arange(len(x), device=x.device)
        self.counted: Tensor | None = None
        self.not_finite = torch.zeros_like(self.rows, dtype=torch.bool)
        self.zero = torch.zeros_like(self.not_finite)

    def note(self, noted: Tensor, rows: Tensor | None, odd: Tensor) -> None:
        """Add where something is odd, (n,) of bool, to what was noted of the whole batch.

        Args:
            noted: ``not_finite`` or ``zero``.
            rows: which of the searched rows they are; None for all of them.
            odd: where it is.
        """
        if self.counted is not None:
            odd = odd & (self.counted if rows is None else self.counted[rows])
        noted[self.rows if rows is None else self.rows[rows]] |= odd

    def also(self, rows: Tensor, second: "Watch") -> None:
        """Add what was seen in a second search of some rows, (n,), the first ones of its batch."""
        self.not_finite[rows] |= second.not_finite[: len(rows)]
        self.zero[rows] |= second.zero[: len(rows)]


_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched(x: Tensor) -> Iterator[Watch]:
    """Watch the gradients of every attack on the batch ``x`` inside a ``with`` block."""
    token = _WATCH.set(Watch(x))
    try:
        watch = _WATCH.get()
        assert watch
        yield watch
    finally:
        _WATCH.reset(token)


@contextmanager
def among(rows: Tensor, counted: Tensor | None = None) -> Iterator[None]:
    """Let those inside the ``with`` block search only some rows of the batch.

    Args:
        rows: their indices, (n,).
        counted: those of which notes are taken, (n,) of bool; all by default.
    """
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    before = watch.rows, watch.counted
    outer = watch.counted
    if outer is not None:
        counted = outer[rows] if counted is None else outer[rows] & counted
    watch.rows, watch.counted = watch.rows[rows], counted
    try:
        yield
    finally:
        watch.rows, watch.counted = before


def finite(gradient: Tensor, rows: Tensor | None = None, counted: Tensor | None = None) -> Tensor:
    """Return the gradient with 0 for NaN and the largest finite numbers for infinities.

    A finite gradient keeps its bits.

    Args:
        gradient: of some images, (n, C, H, W).
        rows: which rows of the batch they are; None if it is all of them, or not known.
        counted: those of which notes are taken, (n,) of bool; all by default.
    """
    watch = _WATCH.get()
    if watch and (rows is not None or len(gradient) == len(watch.rows)):
        odd = ~gradient.isfinite().flatten(1).all(1)
        watch.note(watch.not_finite, rows, odd if counted is None else odd & counted)
    return gradient.nan_to_num(nan=0.0)


def note_zeros(gradient: Tensor, rows: Tensor, standing: Tensor | None = None) -> None:
    """Tell who watches on which images the gradient is zero.

    Args:
        gradient: of some images, (n, C, H, W).
        rows: which rows of the batch they are.
        standing: those that are not fooled yet, (n,) of bool; all by default.
    """
    if watch := _WATCH.get():
        zero = (gradient == 0).flatten(1).all(1)
        watch.note(watch.zero, rows, zero if standing is None else zero & standing)


def input_gradient(
    total: Tensor,
    x: Tensor,
    rows: Tensor | None = None,
    counted: Tensor | None = None,
    *,
    again: bool = False,
) -> Tensor:
    """Return the finite gradient of a sum with respect to images; 0 where nothing depends on them.

    Args:
        total: a scalar.
        x: the images, (n, C, H, W).
        rows: which rows of the batch they are.
        counted: those of which notes are taken, (n,) of bool; all by default.
        again: whether the graph is needed for another gradient.
    """
    if not total.requires_grad:  # such as the answers of a constant
        return torch.zeros_like(x)
    # no weights for the outputs, no graph of the gradient, of x only, None if x is unused
    (gradient,) = torch.autograd.grad(total, x, None, again, False, True, True)
    return torch.zeros_like(x) if gradient is None else finite(gradient, rows, counted)


_MODERATE = 1e15
"""The squares of numbers below it can be added up in single precision."""


class FiniteGradients:
    """Makes the gradients of a library's attack finite and moderate, and tells who watches.

    The norms of libraries overflow. On an accelerator gradients are computed in another thread,
    which knows nothing of who watches here, so it is asked in advance.

    Args:
        y: the labels of the images that the library is given, (n,).
    """

    def __init__(self, y: Tensor) -> None:
        self.y, self.watch = y, _WATCH.get()

    def of(self, x: Tensor) -> Tensor:
        """Return the same images; the gradients that flow back to them are made finite."""
        if not x.requires_grad:
            return x
        seen = x.view_as(x)
        seen.register_hook(self._moderate)  # type: ignore[no-untyped-call]
        return seen

    def answered(self, x: Tensor, logits: Tensor) -> None:
        """Note which images stand, before gradients flow back from the logits, (n, K)."""
        all_of_them = len(x) == len(self.y)  # of a part it is not known whose they are
        self.standing = logits.detach().argmax(1) == self.y if all_of_them else None

    def _moderate(self, gradient: Tensor) -> Tensor:
        watch = self.watch
        if watch and len(gradient) == len(watch.rows):
            flat = gradient.flatten(1)
            watch.note(watch.not_finite, None, ~flat.isfinite().all(1))
            if self.standing is not None:
                watch.note(watch.zero, None, (flat == 0).all(1) & self.standing)
        return gradient.nan_to_num(nan=0.0).clamp(-_MODERATE, _MODERATE)
