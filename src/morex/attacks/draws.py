"""Searches that draw or enumerate candidates, without gradients.

====================  ========================================================================
``WorstOfDraws``      several draws of a transform, the one that fools or has the largest loss
``WorstOfStrengths``  several draws at each of several strengths, the first that fools
``GridSearch``        every point of a grid over a spatial transformation
``RandomNoise``       uniform points of a ball: no other attack should be weaker
====================  ========================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes, fooled
from morex.attacks.best import Best, Goal, check_goal
from morex.attacks.freezing import Model
from morex.attacks.losses import cross_entropy
from morex.attacks.sequence import Search, first_that_fools
from morex.core.number_checks import check_numbers
from morex.core.shards import drawn_for_all
from morex.perturbations import Ball, Spatial, Transform, draw


@dataclass(frozen=True)
class WorstOfDraws(Attack):
    """Draw a transform ``draws`` times and return each example's worst image.

    That is the draw with the largest loss of those that fool the model, or of all if none does.
    One draw, the default, is the plain transform and never calls the model.

    Args:
        perturbation: the transform.
        draws: number of draws.
        goal: what makes a draw the worst; ``loss`` is for training.

    Raises:
        ValueError: if ``draws`` is below 1, or the perturbation is not a transform.
    """

    perturbation: Transform
    draws: int = 1
    goal: Goal = "fool"

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if not isinstance(self.perturbation, Transform):
            raise ValueError(f"WorstOfDraws draws transforms, got {self.perturbation}")
        if self.draws < 1:
            raise ValueError(f"WorstOfDraws needs draws >= 1, got {self.draws}")
        check_goal(self.goal)

    def by_loss(self) -> "WorstOfDraws":
        """Return the same draws, of which the largest loss decides."""
        return replace(self, goal="loss")

    @property
    def needs_float32(self) -> bool:
        """True: its draws are not repeated on a part of a batch."""
        return True

    @property
    def passes(self) -> Passes:
        """One forward pass per draw, and none for a single draw."""
        return Passes(forward=self.draws if self.draws > 1 else 0)

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the worst draw of every example."""
        worst = draw(self.perturbation, x, generator)
        if self.draws == 1:
            return worst
        best, every = Best(worst), torch.arange(len(x), device=x.device)
        for further in range(self.draws):
            drawn = draw(self.perturbation, x, generator) if further else worst
            logits = model(drawn)
            fallen = fooled(logits, y) if self.goal == "fool" else None
            best.update(every, drawn, fallen, cross_entropy(logits, y))
        return best.x


@dataclass(frozen=True)
class WorstOfStrengths(Attack):
    """Random search over a grid: several draws of a transform at each of several strengths.

    Args:
        perturbation: the transform at its full strength.
        draws: number of draws at every strength.
        strengths: factors on the strength. Where nothing fools, the result has the last one.

    Raises:
        ValueError: if it is not a transform, ``draws`` is below 1, or a factor is not in [0, 1].
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Transform
    draws: int = 5
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if not isinstance(self.perturbation, Transform):
            raise ValueError(f"WorstOfStrengths draws transforms, got {self.perturbation}")
        within = all(0 <= factor <= 1 for factor in self.strengths)
        if self.draws < 1 or not self.strengths or not within:
            raise ValueError(
                "WorstOfStrengths needs draws >= 1 and strengths in [0, 1], got "
                f"{self.draws} and {self.strengths}"
            )

    @property
    def needs_float32(self) -> bool:
        """True: its draws are not repeated on a part of a batch."""
        return True

    @property
    def passes(self) -> Passes:
        """One decision on the image itself and one on every draw."""
        return Passes(forward=1 + self.draws * len(self.strengths))

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first draw that fools, or the last one."""
        return first_that_fools(model, x, y, self._searches(generator))

    def _searches(self, generator: torch.Generator) -> Iterator[Search]:
        for strength in self.strengths:
            weaker = self.perturbation.scaled(strength)
            for _ in range(self.draws):
                yield partial(_drawn, weaker, generator)


def _drawn(transform: Transform, generator: torch.Generator, x: Tensor, y: Tensor) -> Tensor:
    return draw(transform, x, generator)


@dataclass(frozen=True)
class GridSearch(Attack):
    """All combinations of evenly spaced parameters (Engstrom et al. 2019, section 4).

    Args:
        perturbation: a spatial transformation.
        points: number of values per parameter, both ends included.

    Raises:
        ValueError: if ``points`` is below 2, or the perturbation is not spatial.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Spatial
    points: int = 5

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if not isinstance(self.perturbation, Spatial):
            raise ValueError(f"GridSearch needs a spatial transform, got {self.perturbation}")
        if self.points < 2:
            raise ValueError(f"GridSearch needs points >= 2, got {self.points}")

    @property
    def needs_float32(self) -> bool:
        """True: the transform is computed beside the model."""
        return True

    @property
    def passes(self) -> Passes:
        """One decision on the image itself and one on every point of the grid."""
        return Passes(forward=1 + self.points**self.perturbation.parameters)

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first point that fools, or the last point of the grid."""
        return first_that_fools(model, x, y, self._searches())

    def _searches(self) -> Iterator[Search]:
        steps = torch.linspace(-1, 1, self.points, dtype=torch.float32).tolist()
        for point in product(steps, repeat=self.perturbation.parameters):
            yield partial(_applied, self.perturbation, point)


def _applied(transform: Spatial, point: tuple[float, ...], x: Tensor, y: Tensor) -> Tensor:
    return transform.apply(x, x.new_tensor(point).expand(len(x), -1))


@dataclass(frozen=True)
class RandomNoise(Attack):
    """Uniform draws from the ball: each example's last draw that fools, or the image itself.

    Args:
        perturbation: the ball.
        draws: number of draws.

    Raises:
        ValueError: if ``draws`` is below 1, or the perturbation is not a ball.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Ball
    draws: int = 20

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if not isinstance(self.perturbation, Ball):
            raise ValueError(f"RandomNoise draws in a ball, got {self.perturbation}")
        if self.draws < 1:
            raise ValueError(f"RandomNoise needs draws >= 1, got {self.draws}")

    @property
    def needs_float32(self) -> bool:
        """True: its draws are not repeated on a part of a batch."""
        return True

    @property
    def passes(self) -> Passes:
        """One forward pass per draw."""
        return Passes(forward=self.draws)

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the last fooling draw of every example, or the image itself."""
        found = x
        for _ in range(self.draws):
            with drawn_for_all(len(x)):
                moved = self.perturbation.random_start(x, generator)
            wrong = fooled(model(moved), y)
            found = torch.where(wrong.view(-1, 1, 1, 1), moved, found)
        return found
