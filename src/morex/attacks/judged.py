"""Attacks of a training that another attack validates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from morex.attacks.base import Attack, Wrapping
from morex.attacks.freezing import Model
from morex.perturbations import Perturbation


@dataclass(frozen=True)
class JudgedBy(Wrapping):
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
    def judge(self) -> Attack:
        """The search that validates the training."""
        return self.judged_by.judge.by_loss()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the attack finds."""
        return self.attack.search(model, x, y, generator)
