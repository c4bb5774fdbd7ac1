"""What all points of the masking audit share: the model and its images, the limits, the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from morex.artifacts.findings import Finding, Verdict
from morex.attacks import Attack, is_right
from morex.core.seeding import generator_for
from morex.evaluation.feasibility import check_feasible
from morex.perturbations import Ball


@dataclass(frozen=True)
class Limits:
    """How much may be chance; anything above is a sign of masking. In percent of the examples.

    Args:
        effort: the drop in accuracy when steps and restarts are doubled.
        remains: the accuracy left in a ball so large that no model can be right.
        missed: examples that another attack fools and the strong PGD does not.
        silent: examples without any gradient.
        loss: the drop in accuracy when other losses are added.
        gate: the drop in accuracy when attacks on the gate or on the experts are added.
    """

    effort: float = 4.0
    remains: float = 5.0
    missed: float = 3.0
    silent: float = 10.0
    loss: float = 5.0
    gate: float = 3.0


@dataclass(frozen=True)
class Audited:
    """A frozen model, and images that it classifies correctly.

    Args:
        model: images in [0, 1] to logits (N, K), already ``frozen``.
        x: the images, (N, C, H, W).
        y: their labels, (N,).
        seed: of all attacks.
        limits: what counts as a sign of masking.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    seed: int = 0
    limits: Limits = Limits()

    def standing(self, attack: Attack, name: str) -> Tensor:
        """Return where the model is right under an attack, (N,).

        Args:
            attack: the search; its result is checked.
            name: a name for the random draws, which depend on it and on the seed.
        """
        generator = generator_for(self.seed, "audit", name, device=self.x.device)
        moved = attack.search(self.model, self.x, self.y, generator).detach()
        check_feasible(attack.perturbation, self.x, moved, name)
        return is_right(self.model, moved, self.y)


def percent(which: Tensor) -> float:
    """Return the percentage of true entries, to two decimals."""
    return round(100 * float(which.double().mean()), 2)


def verdict(
    point: int, ball: Ball | None, evidence: dict[str, float], problems: Sequence[str]
) -> Finding:
    """Return a finding, flagged if there is a problem."""
    sign: Verdict = "flag" if problems else "pass"
    reason = "; ".join(problems) or "no sign of masking"
    return Finding.of(point, str(ball) if ball else None, sign, evidence, reason)
