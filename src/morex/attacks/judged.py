"""Attacks of a training that another attack validates."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes
from morex.attacks.freezing import Model
from morex.perturbations import Perturbation


@dataclass(frozen=True)
class JudgedBy(Attack):
    """An attack of a training, such as one with a single step, with the one that validates it.

    Args:
        attack: what the training uses.
        judged_by: a search of the same perturbation. Its own ``judge`` validates the training.

    Raises:
        ValueError: if ``judged_by`` searches another perturbation.
    """

    attack: Attack
    judged_by: Attack

    def __post_init__(self) -> None:
        """Check the judge."""
        if self.judged_by.perturbation != self.attack.perturbation:
            raise ValueError(
                f"JudgedBy: judged_by searches {self.judged_by.perturbation}, expected "
                f"{self.attack.perturbation}"
            )

    @property
    def perturbation(self) -> Perturbation | tuple[Perturbation, ...]:  # type: ignore[override]
        """What both search."""
        return self.attack.perturbation

    @property
    def passes(self) -> Passes:
        """The cost of the attack."""
        return self.attack.passes

    @property
    def needs_float32(self) -> bool:
        """Whether the attack needs float32."""
        return self.attack.needs_float32

    @property
    def takes_single_step(self) -> bool:
        """Whether the attack does."""
        return self.attack.takes_single_step

    @property
    def only_for_evaluation(self) -> bool:
        """Whether the attack is."""
        return self.attack.only_for_evaluation

    @property
    def judge(self) -> Attack:
        """The search that validates the training."""
        return self.judged_by.judge.by_loss()

    def by_loss(self) -> "JudgedBy":
        """Return the same for the attack."""
        return replace(self, attack=self.attack.by_loss())

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the attack finds."""
        return self.attack.search(model, x, y, generator)
