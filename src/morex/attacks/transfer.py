"""Transfer: images that fool a part of a mixture are tried on the whole mixture.

x' is found on every single expert and on the mean of the experts' logits. It counts where it fools
f itself. A white-box attack that is weaker than this has been misled by the gate.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from morex.attacks.base import Attack, Model, Passes
from morex.attacks.pgd import PGD
from morex.attacks.sequence import Search, first_that_fools
from morex.perturbations import Ball


@runtime_checkable
class HasExperts(Protocol):
    """A model that is made of other models with the same classes."""

    @property
    def experts(self) -> Iterable[Callable[[Tensor], Tensor]]:
        """The models: images to logits (N, K)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (N, K)."""


@dataclass(frozen=True)
class ExpertTransfer(Attack):
    """PGD on every expert and on their mean, judged by the whole model.

    A model without ``experts`` is attacked by plain PGD, so that networks and mixtures can be
    compared in one row.

    Args:
        perturbation: the ball to search.
        steps: of PGD on each part.
        relative_step: the same as for ``PGD``.

    Raises:
        ValueError: if PGD does not accept the budget.
    """

    perturbation: Ball
    steps: int = 20
    relative_step: float = 2.5

    def __post_init__(self) -> None:
        """Check the budget."""
        self._attack()

    @property
    def passes(self) -> Passes:
        """Twice PGD: on all experts together and on their mean, each about one PGD on the whole."""
        return self._attack().passes * 2

    def _attack(self) -> PGD:
        return PGD(self.perturbation, self.steps, self.relative_step)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first x' that fools the whole model."""
        if not isinstance(model, HasExperts):
            return self._attack().search(model, x, y, generator)
        return first_that_fools(model, x, y, self._searches(model, generator))

    def _searches(self, model: HasExperts, generator: torch.Generator) -> Iterator[Search]:
        experts = [*model.experts]

        def mean(x: Tensor) -> Tensor:
            return torch.stack([expert(x) for expert in experts]).float().mean(0)

        for part in (*experts, mean):
            yield partial(self._attack().search, part, generator=generator)
