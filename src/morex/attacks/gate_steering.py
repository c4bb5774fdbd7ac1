"""Gate steering: an adaptive attack on models that weight experts with a gate.

    max over x' in the ball of   CE(f(x'), y) + lambda log w_j(x')        for every expert j

An expert j that gives way to the perturbation is of no harm while the gate gives it no weight. So
the attacker pushes the weight w_j to it as well. Every expert and lambda is a search of its own,
and so is, per expert, a pure phase on the gate (log w_j alone) with a phase on the class after it.
The per-example worst counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from morex.attacks.base import Attack, Model, Passes
from morex.attacks.gate_losses import Gated, TowardsEach, TowardsExpert
from morex.attacks.pgd import PGD
from morex.attacks.sequence import Search, first_that_fools
from morex.perturbations import Ball


@dataclass(frozen=True)
class DrawnSteering(Attack):
    """PGD in which every example pushes the gate to an expert of its own: for training.

    Of a mixture of m experts each is drawn with probability 1 / (m + 1); the rest of the examples
    does not push. A model without a gate gets plain PGD.

    Args:
        perturbation: the ball to search.
        steps: PGD steps.
        relative_step: the length of a step, as in ``PGD``.
        push: lambda.

    Raises:
        ValueError: if ``push`` is not positive, or the budget is not one of PGD.
    """

    perturbation: Ball
    steps: int = 20
    relative_step: float = 2.5
    push: float = 1.0

    def __post_init__(self) -> None:
        """Check the budget."""
        if self.push <= 0:
            raise ValueError(f"DrawnSteering needs push > 0, got {self.push}")
        self._plain()

    @property
    def passes(self) -> Passes:
        """That of PGD; the gate is asked twice."""
        return self._plain().passes

    def _plain(self) -> PGD:
        return PGD(self.perturbation, self.steps, self.relative_step)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's iterate with the largest loss of its own."""
        if not isinstance(model, Gated) or not len(x):
            return self._plain().search(model, x, y, generator)
        with torch.no_grad():
            experts = model.gate_weights(x[:1]).shape[1]
        drawn = torch.randint(experts + 1, (len(x),), generator=generator, device=x.device)
        pushes = self.push * (drawn < experts)
        loss = TowardsEach(drawn.clamp(max=experts - 1), pushes)
        return replace(self._plain(), loss=loss).search(model, x, y, generator)


@dataclass(frozen=True)
class GateSteering(Attack):
    """PGD that steers the gate to each expert in turn; plain PGD for models without a gate.

    On a mixture of m experts that is m (len(pushes) + 1) searches, the last m of them in two
    phases. A model without a gate gets len(pushes) + 1 restarts of plain PGD.

    Args:
        perturbation: the ball to search.
        steps: of every search, and of each of two phases.
        relative_step: as of ``PGD``.
        pushes: the lambdas.

    Raises:
        ValueError: if there is no lambda or one is not positive, or the budget is not one of PGD.
    """

    perturbation: Ball
    steps: int = 20
    relative_step: float = 2.5
    pushes: tuple[float, ...] = (1.0, 5.0)

    def __post_init__(self) -> None:
        """Check the budget."""
        if not self.pushes or min(self.pushes) <= 0:
            raise ValueError(f"GateSteering needs lambdas > 0 in pushes, got {self.pushes}")
        self._plain()

    @property
    def passes(self) -> Passes:
        """The cost without a gate; with one, that times the number of experts, and gate passes."""
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
        for expert in range(experts):
            yield partial(self._in_two_phases, model, expert, generator)

    def _in_two_phases(
        self, model: Model, expert: int, generator: torch.Generator, x: Tensor, y: Tensor
    ) -> Tensor:
        """Push the gate alone to an expert, then search for another class from there."""
        loss = TowardsExpert(expert, fool=False)
        router = replace(self._plain(), loss=loss, stop_when_fooled=False)
        steered = router.search(model, x, y, generator)
        return self._plain().go_on(model, x, y, steered, generator)
