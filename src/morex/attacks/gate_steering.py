"""Gate steering: an adaptive attack on models that weight experts with a gate.

    max over x' in the ball of   CE(f(x'), y) + lambda log w_j(x')        for every expert j

A weak expert j does no harm while the gate gives it no weight. So the attacker also pushes the
weight w_j up. There is one search per expert and lambda, and one per expert in two phases: first on
the gate alone (log w_j), then on the class. The worst result per example counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes
from morex.attacks.best import Goal
from morex.attacks.freezing import Model
from morex.attacks.gate_losses import Gated, TowardsEach, TowardsExpert
from morex.attacks.pgd import PGD, Searched
from morex.attacks.sequence import Search, first_that_fools
from morex.core.number_checks import check_numbers
from morex.core.shards import drawn_for_all
from morex.perturbations import Ball


@dataclass(frozen=True)
class DrawnSteering(Attack):
    """PGD in which every example pushes the gate towards an expert drawn for it; for training.

    In a mixture of m experts each expert is drawn with probability 1 / (m + 1). The remaining
    examples do not push. A model without a gate gets plain PGD.

    Args:
        perturbation: the ball to search.
        steps: PGD steps.
        relative_step: the length of all steps together, in radii, as in ``PGD``.
        push: lambda, the weight of log w_j.
        goal: what makes an iterate the best; ``loss`` is for training.

    Raises:
        ValueError: if ``push`` is not positive, or PGD does not accept the budget.
    """

    perturbation: Searched
    steps: int = 20
    relative_step: float = 2.5
    push: float = 1.0
    goal: Goal = "fool"

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if self.push <= 0:
            raise ValueError(f"DrawnSteering needs push > 0, got {self.push}")
        self._plain()

    @property
    def passes(self) -> Passes:
        """The cost of PGD; the gate is evaluated twice, which is not counted."""
        return self._plain().passes

    def _plain(self) -> PGD:
        return PGD(self.perturbation, self.steps, self.relative_step, goal=self.goal)

    @property
    def takes_single_step(self) -> bool:
        """Whether the PGD does."""
        return self._plain().takes_single_step

    @property
    def judge(self) -> "DrawnSteering":
        """Itself; for a single step, the same with those of PGD's judge."""
        judge = self._plain().judge
        return replace(self, steps=judge.steps, relative_step=judge.relative_step)

    def by_loss(self) -> "DrawnSteering":
        """Return the same search for the largest loss."""
        return replace(self, goal="loss")

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's iterate that fools, or that with the largest value of its loss."""
        if not isinstance(model, Gated) or not len(x):
            return self._plain().search(model, x, y, generator)
        with torch.no_grad():
            experts = model.gate_weights(x[:1]).shape[1]
        with drawn_for_all(len(x)):
            drawn = torch.randint(experts + 1, (len(x),), generator=generator, device=x.device)
        pushes = self.push * (drawn < experts)
        loss = TowardsEach(drawn.clamp(max=experts - 1), pushes)
        return replace(self._plain(), loss=loss).search(model, x, y, generator)


@dataclass(frozen=True)
class GateSteering(Attack):
    """PGD that steers the gate towards each expert in turn; plain PGD for models without a gate.

    A mixture of m experts gets m (len(pushes) + 1) searches, the last m of them in two phases. A
    model without a gate gets len(pushes) + 1 restarts of plain PGD.

    Args:
        perturbation: the ball to search.
        steps: number of steps per search, or per phase.
        relative_step: the same as for ``PGD``.
        pushes: the lambdas.

    Raises:
        ValueError: if there is no lambda, one is not positive, or PGD does not accept the budget.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Searched
    steps: int = 20
    relative_step: float = 2.5
    pushes: tuple[float, ...] = (1.0, 5.0)

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        if not self.pushes or min(self.pushes) <= 0:
            raise ValueError(f"GateSteering needs lambdas > 0 in pushes, got {self.pushes}")
        self._plain()

    @property
    def passes(self) -> Passes:
        """The cost without a gate; with one it is multiplied by the number of experts."""
        return self._plain().passes * (len(self.pushes) + 1)

    def _plain(self) -> PGD:
        return PGD(self.perturbation, self.steps, self.relative_step, stop_when_fooled=True)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first fooling image."""
        if not isinstance(model, Gated):
            plain = replace(self._plain(), restarts=len(self.pushes) + 1)
            return plain.search(model, x, y, generator)
        with torch.no_grad():
            experts = model.gate_weights(x[:1]).shape[1] if len(x) else 0
        return first_that_fools(model, x, y, self._searches(model, experts, generator))

    def _searches(self, model: Model, experts: int, generator: torch.Generator) -> Iterator[Search]:
        for push in self.pushes:
            for expert in range(experts):
                attack = replace(self._plain(), loss=TowardsExpert(expert, push))
                yield partial(attack.search, model, generator=generator)
        two_phases = experts if isinstance(self.perturbation, Ball) else 0
        for expert in range(two_phases):
            yield partial(self._in_two_phases, model, expert, generator)

    def _in_two_phases(
        self, model: Model, expert: int, generator: torch.Generator, x: Tensor, y: Tensor
    ) -> Tensor:
        """Push the gate towards an expert, then search for another class from there."""
        loss = TowardsExpert(expert, fool=False)
        router = replace(self._plain(), loss=loss, stop_when_fooled=False, goal="loss")
        steered = router.search(model, x, y, generator)
        return self._plain().go_on(model, x, y, steered, generator)
