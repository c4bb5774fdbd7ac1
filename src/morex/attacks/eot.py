"""Expectation over transformation: PGD on models that draw (Athalye et al. 2018).

A model with random layers, or a random transform before it, has a random gradient. The search
ascends in the mean of the loss over several calls.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes
from morex.attacks.freezing import Model
from morex.attacks.losses import SCALE_FREE, Loss, PerExample, loss_of_rows
from morex.attacks.pgd import PGD, Searched
from morex.core.number_checks import check_numbers


@dataclass(frozen=True)
class OverDraws(PerExample):
    """The mean of a loss over several calls of the model; its logits are the mean logits.

    Args:
        draws: number of calls.
        loss: the loss.
    """

    draws: int
    loss: Loss = SCALE_FREE

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean logits (N, K) and the mean loss (N,)."""
        seen = [self.loss(model, x, y) for _ in range(self.draws)]
        logits, values = zip(*seen, strict=True)
        return torch.stack(logits).mean(0), torch.stack(values).mean(0)

    def rows(self, rows: Tensor) -> "OverDraws":
        """Return the loss of some examples."""
        return OverDraws(self.draws, loss_of_rows(self.loss, rows))


@dataclass(frozen=True)
class EoT(Attack):
    """PGD on the mean loss of several calls of a model that draws.

    The search does not end when a draw is fooled. Of the iterates at which the mean logits are
    wrong or not finite, it returns the one with the largest mean loss; without any, the one with
    the largest mean loss of all. An evaluation then asks the model once, so its figures have the
    noise of one draw.

    Args:
        perturbation: a ball, or a perturbation with parameters.
        draws: calls of the model in every step.
        steps, relative_step, restarts: as for ``PGD``.

    Raises:
        ValueError: if ``draws`` is below 1, or PGD does not accept the budget.
    """

    perturbation: Searched
    draws: int = 10
    steps: int = 20
    relative_step: float = 2.5
    restarts: int = 1

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if self.draws < 1:
            raise ValueError(f"EoT needs draws >= 1, got {self.draws}")
        self._search()

    def _search(self) -> PGD:
        return PGD(
            self.perturbation,
            self.steps,
            self.relative_step,
            self.restarts,
            loss=OverDraws(self.draws),
        )

    @property
    def passes(self) -> Passes:
        """Those of PGD, times the number of draws."""
        return self._search().passes * self.draws

    def by_loss(self) -> Attack:
        """Return the same search for the largest mean loss, as PGD."""
        return self._search().by_loss()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's iterate that fools the mean, or that with the largest loss."""
        return self._search().search(model, x, y, generator)
