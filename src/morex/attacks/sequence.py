"""The worst of several attacks per example: each one attacks what is not fooled yet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes, is_right
from morex.attacks.freezing import Model
from morex.attacks.gradients import among
from morex.attacks.standing import Standing
from morex.perturbations import Perturbation

Search = Callable[[Tensor, Tensor], Tensor]
"""Images (N, C, H, W) and labels (N,) to x' of the same shape as the images."""


def first_that_fools(model: Model, x: Tensor, y: Tensor, searches: Iterable[Search]) -> Tensor:
    """Return for every example the first x' that fools the model, or else the last one.

    Each search gets only the examples that are still classified correctly. Images that the model
    gets wrong without any attack come back unchanged.

    Args:
        model: images to logits, already ``frozen``.
        x: images in [0, 1], (N, C, H, W).
        y: true labels, (N,).
        searches: run one after the other, until all examples are fooled.
    """
    found = x.clone()
    standing = Standing(x, ~is_right(model, x, y))
    for search in searches:
        rows = standing.rows
        if not len(rows):
            break
        with among(rows, standing.counted):
            moved = search(x[rows], y[rows]).detach()
        standing.put(found, torch.ones_like(rows, dtype=torch.bool), moved)
        standing.drop(~is_right(model, moved, y[rows]), 0)
    return found


@dataclass(frozen=True)
class InTurn(Attack):
    """Several attacks, in the order given, each on the examples that are not fooled yet.

    Args:
        attacks: at least one.

    Raises:
        ValueError: if there is none.
    """

    only_for_evaluation: ClassVar[bool] = True

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        """Check that there is an attack."""
        if not self.attacks:
            raise ValueError("InTurn needs at least one attack, got none")

    @property
    def perturbation(self) -> Perturbation | tuple[Perturbation, ...]:  # type: ignore[override]
        """The perturbation that all attacks search, or a tuple of the different ones."""
        parts: list[Perturbation] = []
        for attack in self.attacks:
            own = attack.perturbation
            parts += own if isinstance(own, tuple) else (own,)
        different = tuple(dict.fromkeys(parts))
        return different[0] if len(different) == 1 else different

    @property
    def passes(self) -> Passes:
        """All attacks, one decision after each, and one before."""
        decisions = Passes(forward=1 + len(self.attacks))
        return sum((attack.passes for attack in self.attacks), decisions)

    @property
    def needs_float32(self) -> bool:
        """Whether one of the attacks needs float32."""
        return any(attack.needs_float32 for attack in self.attacks)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first fooling image."""
        searches = (partial(attack.search, model, generator=generator) for attack in self.attacks)
        return first_that_fools(model, x, y, searches)
