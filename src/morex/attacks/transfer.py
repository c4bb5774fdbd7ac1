"""Transfer: images that fool a part of a mixture are tried on the whole mixture.

x' is found on every single expert and on the mean of the experts' logits; for a sparse mixture also
with the gradients of the mixture in which every expert is asked. It counts where it fools f itself.
A white-box attack that is weaker than this has been misled by the gate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes
from morex.attacks.freezing import Model
from morex.attacks.gate_losses import EveryExpertAsked, is_sparse
from morex.attacks.pgd import PGD
from morex.attacks.sequence import Search, first_that_fools
from morex.core.number_checks import check_numbers
from morex.perturbations import Ball


def experts_of(model: Model) -> list[Model]:
    """Return the models that a model is made of; none if it is a single network.

    This is no ``isinstance`` with a protocol: since Python 3.12 that does not see attributes which
    a torch module finds through ``__getattr__``, such as its submodules.
    """
    return [*getattr(model, "experts", ())]


@dataclass(frozen=True)
class ExpertTransfer(Attack):
    """PGD on every expert and on their mean, judged by the whole model.

    A sparse mixture is also searched with the gradients that its routing hides.

    A model without ``experts`` is attacked by plain PGD, so that networks and mixtures can be
    compared in one row.

    Args:
        perturbation: the ball to search.
        steps: of PGD on each part.
        relative_step: the same as for ``PGD``.

    Raises:
        ValueError: if PGD does not accept the budget.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Ball
    steps: int = 20
    relative_step: float = 2.5

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        self._attack()

    @property
    def passes(self) -> Passes:
        """Twice PGD: on all experts together and on their mean, each about one PGD on the whole.

        For a sparse mixture there is a third one.
        """
        return self._attack().passes * 2

    def _attack(self) -> PGD:
        return PGD(self.perturbation, self.steps, self.relative_step)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first x' that fools the whole model."""
        experts = experts_of(model)
        if not experts:
            return self._attack().search(model, x, y, generator)
        return first_that_fools(model, x, y, self._searches(model, experts, generator))

    def _searches(
        self, model: Model, experts: list[Model], generator: torch.Generator
    ) -> Iterator[Search]:
        def mean(x: Tensor) -> Tensor:
            return torch.stack([expert(x) for expert in experts]).float().mean(0)

        for part in (*experts, mean):
            yield partial(self._attack().search, part, generator=generator)
        if is_sparse(model):
            through = replace(self._attack(), loss=EveryExpertAsked())
            yield partial(through.search, model, generator=generator)
