"""One member of the union for each batch: SAT, which draws it evenly, and E-AT, by its errors."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks import Model, Passes, is_wrong
from morex.core.seeding import derived_seed
from morex.training.objectives import UPDATE, Batch, Objective


@dataclass(frozen=True)
class OneDrawn(Objective):
    """Train on one member drawn per batch (SAT, Madaan et al. 2021; E-AT, Croce & Hein 2022).

    SAT draws all members with the same probability. E-AT draws each with a probability that is
    proportional to its robust error: the share of images about which the model was wrong, over all
    batches of the training so far that this member changed.

    Args:
        members: the attacks, one per perturbation.
        by_error: whether members are drawn by their robust errors. A training measures them again
            every 32 steps.
        errors: the robust errors; while there are none, or all are zero, every member has the same
            probability.

    Raises:
        ValueError: if there are errors, but not one in [0, 1] for each member.
    """

    divisible: ClassVar[bool] = True

    by_error: bool = False
    errors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check members and errors."""
        super().__post_init__()
        sound = all(0 <= error <= 1 for error in self.errors)
        if self.errors and (len(self.errors) != len(self.members) or not sound):
            raise ValueError(
                f"OneDrawn needs an error in [0, 1] for each of {len(self.members)} members, "
                f"got {self.errors}"
            )

    @property
    def counts_errors(self) -> bool:
        """Whether members are drawn by their robust errors."""
        return self.by_error

    def after(self, errors: Sequence[float]) -> "OneDrawn":
        """Return the objective with new errors."""
        return replace(self, errors=tuple(errors)) if self.by_error else self

    def turn(self, step: int, seed: int) -> int:
        """Draw a member, on the host, which then does not wait for the device."""
        drawn = derived_seed(seed, "member")
        if not any(self.errors):
            return drawn % len(self.members)
        place = drawn / 2**63 * sum(self.errors)
        return min(bisect_right([*accumulate(self.errors)], place), len(self.members) - 1)

    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return the x' of the member that is drawn."""
        batch = self._changed_by(turn, model, x, y, generator)
        if not self.by_error:
            return batch
        with torch.no_grad():
            return replace(batch, wrong=is_wrong(model(batch.x), y))

    @property
    def passes(self) -> Passes:
        """The mean over the members, a forward pass if errors are counted, and the update."""
        judging = Passes(forward=1) if self.by_error else Passes()
        return self._passes_of_members() * (1 / len(self.members)) + judging + UPDATE
