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
        _note(watch, watch.not_finite, rows, odd if counted is None else odd & counted)
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
        _note(watch, watch.zero, rows, zero if standing is None else zero & standing)


def _note(watch: Watch, noted: Tensor, rows: Tensor | None, odd: Tensor) -> None:
    """Add where something is odd, (n,) of bool, to what was noted of the whole batch."""
    if watch.counted is not None:
        odd = odd & (watch.counted if rows is None else watch.counted[rows])
    noted[watch.rows if rows is None else watch.rows[rows]] |= odd


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


def with_finite_gradients(x: Tensor) -> Tensor:
    """Return the same images; gradients that flow back through them are made finite and moderate.

    This is for libraries, whose norms of gradients overflow. Whoever watches is told of zeros.
    """
    if not x.requires_grad:
        return x
    seen = x.view_as(x)
    seen.register_hook(_moderate)  # type: ignore[no-untyped-call]
    return seen


def _moderate(gradient: Tensor) -> Tensor:
    watch = _WATCH.get()
    if watch and len(gradient) == len(watch.rows):  # otherwise it is not known whose they are
        note_zeros(gradient, torch.arange(len(gradient), device=gradient.device))
    return finite(gradient).clamp(-_MODERATE, _MODERATE)
