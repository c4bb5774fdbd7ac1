"""Targeted PGD: every example is pushed towards one wrong class, which stays the same throughout.

    max over x' in the ball of   f_t(x') - f_y(x'),   t the rank-th most likely wrong class at x

An untargeted loss pushes towards whatever wrong class is likeliest at the moment. Where that leads
to a dead end, a fixed target may still succeed (Gowal et al. 2019, MultiTargeted).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes
from morex.attacks.freezing import Model
from morex.attacks.losses import PerExample, most_likely_wrong
from morex.attacks.pgd import PGD, Searched
from morex.core.number_checks import check_numbers
from morex.perturbations import Ball


@dataclass(frozen=True, eq=False)
class TowardsTargets(PerExample):
    """The targeted margin f_t - f_y, above zero where the target is likelier than the true class.

    Args:
        targets: the class t of every example, (N,), int64.
        scaled: divide it by f_(1) - (f_(3) + f_(4)) / 2, with f_(i) the i-th largest logit, so
            that a factor on the logits changes nothing (DLR of Croce & Hein 2020). With fewer than
            four classes there is no such divisor, and the margin stays.
    """

    targets: Tensor
    scaled: bool = False

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the margin of the target."""
        logits = model(x)
        pair = torch.stack([self.targets, y], 1)
        towards, away = logits.float().gather(1, pair).unbind(1)
        margin = towards - away
        if self.scaled and logits.shape[1] > 3:
            first, _, third, fourth = logits.float().topk(4).values.unbind(1)
            margin = margin / (first - (third + fourth) / 2 + 1e-12)
        return logits, margin

    def rows(self, rows: Tensor) -> "TowardsTargets":
        """Return the loss of some examples."""
        return TowardsTargets(self.targets[rows], self.scaled)


@dataclass(frozen=True)
class Targeted(Attack):
    """PGD towards the ``rank``-th most likely wrong class of every clean image.

    Args:
        attack: the search; the targeted margin takes the place of its loss.
        rank: 1 for the most likely wrong class, and so on; with fewer classes, the least likely.

    Raises:
        ValueError: if ``rank`` is below 1.
    """

    attack: PGD
    rank: int = 1

    def __post_init__(self) -> None:
        """Check the rank."""
        check_numbers(self)
        if self.rank < 1:
            raise ValueError(f"Targeted needs rank >= 1, got {self.rank}")

    @property
    def perturbation(self) -> Searched | tuple[Ball, ...]:  # type: ignore[override]
        """What the PGD searches."""
        return self.attack.perturbation

    @property
    def takes_single_step(self) -> bool:
        """Whether the PGD does."""
        return self.attack.takes_single_step

    @property
    def judge(self) -> "Targeted":
        """The same with PGD's judge."""
        return replace(self, attack=self.attack.judge)

    @property
    def passes(self) -> Passes:
        """The cost of the PGD, and a forward pass to choose the targets."""
        return self.attack.passes + Passes(forward=1)

    def by_loss(self) -> "Targeted":
        """Return the same for the PGD."""
        return replace(self, attack=self.attack.by_loss())

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the targets on the clean images, then run PGD towards them."""
        with torch.no_grad():
            logits = model(x)
        rank = min(self.rank, logits.shape[1] - 1)
        loss = TowardsTargets(most_likely_wrong(logits, y, rank)[:, -1])
        return replace(self.attack, loss=loss).search(model, x, y, generator)
