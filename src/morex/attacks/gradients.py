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
        self.not_finite = torch.zeros_like(self.rows, dtype=torch.bool)
        self.zero = torch.zeros_like(self.not_finite)


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
def among(rows: Tensor) -> Iterator[None]:
    """Let those inside the ``with`` block search only some rows of the batch, by their indices."""
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    every = watch.rows
    watch.rows = every[rows]
    try:
        yield
    finally:
        watch.rows = every


def finite(gradient: Tensor, rows: Tensor | None = None) -> Tensor:
    """Return the gradient with 0 for NaN and the largest finite numbers for infinities.

    A finite gradient keeps its bits.

    Args:
        gradient: of some images, (n, C, H, W).
        rows: which rows of the batch they are; None if it is all of them, or not known.
    """
    watch = _WATCH.get()
    if watch and (rows is not None or len(gradient) == len(watch.rows)):
        odd = ~gradient.isfinite().flatten(1).all(1)
        watch.not_finite[_of_batch(watch, rows)] |= odd
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
        watch.zero[_of_batch(watch, rows)] |= zero if standing is None else zero & standing


def _of_batch(watch: Watch, rows: Tensor | None) -> Tensor:
    return watch.rows if rows is None else watch.rows[rows]


def input_gradient(
    total: Tensor, x: Tensor, rows: Tensor | None = None, *, again: bool = False
) -> Tensor:
    """Return the finite gradient of a sum with respect to images; 0 where nothing depends on them.

    Args:
        total: a scalar.
        x: the images, (n, C, H, W).
        rows: which rows of the batch they are.
        again: whether the graph is needed for another gradient.
    """
    if not total.requires_grad:  # such as the answers of a constant
        return torch.zeros_like(x)
    # no weights for the outputs, no graph of the gradient, of x only, None if x is unused
    (gradient,) = torch.autograd.grad(total, x, None, again, False, True, True)
    return torch.zeros_like(x) if gradient is None else finite(gradient, rows)


_MODERATE = 1e15
"""The squares of numbers below it can be added up in single precision."""


def with_finite_gradients(x: Tensor) -> Tensor:
    """Return the same images; gradients that flow back through them are made finite and moderate.

    This is for libraries, whose norms of gradients overflow.
    """
    if not x.requires_grad:
        return x
    seen = x.view_as(x)
    seen.register_hook(_moderate)  # type: ignore[no-untyped-call]
    return seen


def _moderate(gradient: Tensor) -> Tensor:
    return finite(gradient).clamp(-_MODERATE, _MODERATE)
