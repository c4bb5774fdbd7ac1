"""Attacks on compositions: any attack on a ball, around what a transform makes of the images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from morex.attacks.base import Attack, Model, Passes
from morex.attacks.draws import WorstOfDraws
from morex.perturbations import Around, Ball, Perturbation, Transform


@dataclass(frozen=True)
class SearchAround(Attack):
    """Draw the transform once per image, then search the ball around the result.

    The transform draws first, so an equal generator gives equal centres.

    Args:
        perturbation: the transform and the ball.
        attack: on the ball.

    Raises:
        ValueError: if ``attack`` searches something else.
    """

    perturbation: Around
    attack: Attack

    def __post_init__(self) -> None:
        """Check that both speak of the same ball."""
        if self.attack.perturbation != self.perturbation.ball:
            raise ValueError(
                f"SearchAround: the attack searches {self.attack.perturbation}, expected "
                f"{self.perturbation.ball}, the last part of the composition"
            )

    @property
    def passes(self) -> Passes:
        """Those of the attack."""
        return self.attack.passes

    def centres(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the transform makes of the images: where the ball is."""
        with torch.no_grad():
            return self.perturbation.transform(x, generator=generator)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the attack finds around the transformed images."""
        return self.attack.search(model, self.centres(x, generator), y, generator)


def attack_on(perturbation: Perturbation, make: Callable[[Perturbation], Attack]) -> Attack:
    """Return the attack that ``make`` gives for a perturbation, or for the ball of a composition.

    Raises:
        ValueError: if that attack does not work on that kind of perturbation.
    """
    if isinstance(perturbation, Around):
        return SearchAround(perturbation, make(perturbation.ball))
    return make(perturbation)


def search_of(perturbation: Perturbation, in_ball: Callable[[Ball], Attack]) -> Attack:
    """Return one draw of a transform, what ``in_ball`` gives for a ball, or both in a composition.

    Raises:
        TypeError: if the perturbation is neither, nor a composition of them.
    """

    def search(part: Perturbation) -> Attack:
        if isinstance(part, Ball):
            return in_ball(part)
        if isinstance(part, Transform):
            return WorstOfDraws(part)
        raise TypeError(f"a perturbation is a Ball or a Transform, got {part!r}")

    return attack_on(perturbation, search)
