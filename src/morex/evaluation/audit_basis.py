"""What all points of the masking audit share: the model and its images, the limits, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from torch import Tensor, nn

from morex.artifacts.findings import Finding, Verdict
from morex.artifacts.statistics import wilson_interval
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
        unseen: the largest share of all images that may show a sign although none of those that
            were audited does. It decides ``fewest``.
    """

    effort: float = 4.0
    remains: float = 5.0
    missed: float = 3.0
    silent: float = 10.0
    loss: float = 5.0
    gate: float = 3.0
    unseen: float = 10.0

    @property
    def fewest(self) -> int:
        """The fewest images that can pass a point: 35 by default.

        None of n images shows a sign: then Wilson's 95% interval for the share of all images that
        would show it ends at 10% for n = 35. With fewer it is wider than the largest limit above,
        and one image alone is more than the smallest of them.
        """
        return next(n for n in count(1) if 100 * wilson_interval(0, n)[1] <= self.unseen)


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

    def verdict(
        self,
        point: int,
        evidence: Mapping[str, float],
        problems: Sequence[str],
        facts: Sequence[str] = (),
        *,
        ball: Ball | None = None,
        note: str = "",
    ) -> Finding:
        """Return a finding on the images.

        Args:
            point: the point of the checklist.
            evidence: the measurements.
            problems: signs of masking in shares of the images; too few images cannot show them.
            facts: signs of masking that do not depend on the number of images.
            ball: the ball of the measurements.
            note: what else the reader should know.
        """
        n, fewest = len(self.x), self.limits.fewest
        sign: Verdict = "flag" if facts or problems else "pass"
        reasons = [*facts, *problems] or ["no sign of masking"]
        if n < fewest and not facts:
            sign = "too few to say"
            reasons = [f"too few to say, {fewest} images that the model gets right are needed"]
            reasons += [f"seen on these: {problem}" for problem in problems]
        reason = "; ".join([*reasons, *([note] if note else [])])
        return Finding.of(point, str(ball) if ball else None, sign, evidence, reason, n)


def in_percent(which: Tensor) -> float:
    """Return the percentage of true entries, to two decimals."""
    return round(100 * float(which.double().mean()), 2)
