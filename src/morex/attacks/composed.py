"""Attacks on compositions: any attack on a ball, centred on the transformed images."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from morex.attacks.base import Attack, Wrapping
from morex.attacks.draws import WorstOfDraws
from morex.attacks.freezing import Model
from morex.perturbations import Around, Ball, Parametric, Perturbation, Transform, draw


@dataclass(frozen=True)
class SearchAround(Wrapping):
    """Draw the transform once per image, then search the ball around the result.

    The transform draws first, so equal generators give equal centres.

    Args:
        perturbation: the transform and the ball.
        attack: the search in that ball.

    Raises:
        ValueError: if ``attack`` searches another perturbation.
    """

    perturbation: Around
    attack: Attack

    def __post_init__(self) -> None:
        """Check that the attack searches the composition's ball."""
        if self.attack.perturbation != self.perturbation.ball:
            raise ValueError(
                f"SearchAround: the attack searches {self.attack.perturbation}, expected "
                f"{self.perturbation.ball}, the last part of the composition"
            )

    @property
    def judge(self) -> "SearchAround":
        """The same with the judge of the search of the ball."""
        judge = self.attack.judge
        return self if judge is self.attack else replace(self, attack=judge)

    def centres(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the transformed images, which are the centres of the ball."""
        with torch.no_grad():
            return draw(self.perturbation.transform, x, generator)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the attack finds around the transformed images."""
        return self.attack.search(model, self.centres(x, generator), y, generator)


def attack_on(perturbation: Perturbation, make: Callable[[Perturbation], Attack]) -> Attack:
    """Return ``make(perturbation)``; for a composition, that attack on its ball.

    Raises:
        ValueError: if the attack does not work on that kind of perturbation.
    """
    if isinstance(perturbation, Around):
        return SearchAround(perturbation, make(perturbation.ball))
    return make(perturbation)


def search_of(perturbation: Perturbation, search: Callable[[Ball | Parametric], Attack]) -> Attack:
    """Return one draw for a transform, ``search(it)`` for a ball, and both for a composition.

    What has parameters and is no transform is searched like a ball.

    Raises:
        TypeError: if the perturbation is none of these.
    """

    def drawn_or_searched(part: Perturbation) -> Attack:
        if isinstance(part, Transform):
            return WorstOfDraws(part)
        if isinstance(part, Ball | Parametric):
            return search(part)
        raise TypeError(f"a perturbation is a Ball, a Transform or Parametric, got {part!r}")

    return attack_on(perturbation, drawn_or_searched)
