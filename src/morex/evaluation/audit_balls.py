"""The points of the masking audit that are measured in a ball: 1 to 4, 6 and 7.

Each compares the strong PGD with something that masking would change: more effort, other radii,
attacks without gradients, other losses, attacks on parts of the model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from morex.artifacts.findings import Finding
from morex.attacks import (
    PGD,
    Attack,
    AutoAttack,
    ExpertTransfer,
    GateSteering,
    OfLogits,
    RandomNoise,
    RayS,
    Targeted,
    cross_entropy,
)
from morex.attacks.gate_losses import Gated
from morex.attacks.losses import margin
from morex.attacks.transfer import experts_of
from morex.evaluation.audit_basis import Audited, percent, verdict
from morex.perturbations import Ball, Linf


@dataclass(frozen=True)
class Searched:
    """A model under the strong PGD, which every other attack is compared with.

    Attributes:
        audited: the model, its images and the limits.
        ball: the ball that is searched.
        strong: the PGD.
        standing: where the model is right under it, (N,).
    """

    audited: Audited
    ball: Ball
    strong: PGD
    standing: Tensor

    @classmethod
    def by_strong_pgd(cls, audited: Audited, ball: Ball, steps: int) -> Self:
        """Run PGD on the plain cross-entropy with twice the steps and two restarts.

        The loss of ``PGD`` by default would make up for logits so large that the gradient of the
        cross-entropy vanishes. An audit is to notice them.
        """
        plain = OfLogits(cross_entropy)
        strong = PGD(ball, 2 * steps, 10, restarts=2, stop_when_fooled=True, loss=plain)
        return cls(audited, ball, strong, audited.standing(strong, "strong"))


def findings_in(audited: Audited, ball: Ball, steps: int, queries: int) -> Iterator[Finding]:
    """Yield the findings of points 1 to 4, 6 and 7 in a ball.

    Args:
        audited: the model, its images and the limits.
        ball: an Linf or L2 ball.
        steps: of PGD; the strong one takes twice as many.
        queries: of attacks without gradients, per example.
    """
    searched = Searched.by_strong_pgd(audited, ball, steps)
    yield effort(searched)
    yield sizes(searched)
    fallen = blind(searched, queries)
    yield per_example(searched, fallen)
    yield decisions(searched, fallen)
    yield losses(searched)
    yield parts(searched, steps)


def effort(searched: Searched) -> Finding:
    """Point 1: many steps beat one, and doubling the effort changes almost nothing."""
    audited, ball, strong = searched.audited, searched.ball, searched.strong
    one = PGD(ball, steps=1, relative_step=1, random_start=False, loss=strong.loss)
    more = replace(strong, steps=2 * strong.steps, restarts=2 * strong.restarts)
    single = percent(audited.standing(one, "one step"))
    usual = percent(searched.standing)
    most = percent(audited.standing(more, "more"))
    evidence = {
        "one step": single,
        f"{strong.steps} steps, {strong.restarts} restarts": usual,
        f"{more.steps} steps, {more.restarts} restarts": most,
    }
    problems = []
    if single < usual - audited.limits.missed:
        problems.append("one step fools more than many steps")
    if most < usual - audited.limits.effort:
        problems.append("twice the steps and restarts lower accuracy further")
    return verdict(1, ball, evidence, problems)


def sizes(searched: Searched) -> Finding:
    """Point 2: accuracy falls with the radius, down to nothing where no model can be right."""
    audited, ball, limits = searched.audited, searched.ball, searched.audited.limits
    pixels = audited.x[0].numel()
    everything = 0.5 if isinstance(ball, Linf) else 0.5 * pixels**0.5
    radii = [ball.eps * factor for factor in (0.5, 1, 2, 4)]
    radii = [radius for radius in radii if radius < everything] + [everything]
    shares = [percent(_standing_at(searched, radius)) for radius in radii]
    evidence = {f"eps {r:.3g}": s for r, s in zip(radii, shares, strict=True)}
    problems = []
    if any(later > sooner + limits.missed for sooner, later in pairwise(shares)):
        problems.append("accuracy grows with the radius")
    if shares[-1] > limits.remains:
        problems.append("some images stay right where no model can be")
    return verdict(2, ball, evidence, problems)


def _standing_at(searched: Searched, radius: float) -> Tensor:
    if radius == searched.ball.eps:
        return searched.standing
    attack = replace(searched.strong, perturbation=replace(searched.ball, eps=radius))
    return searched.audited.standing(attack, f"radius {radius}")


def blind(searched: Searched, queries: int) -> dict[str, Tensor]:
    """Return which images attacks without gradients fool, by attack: Square, RayS, and noise."""
    ball, standing = searched.ball, searched.audited.standing
    square = AutoAttack(ball, attacks=("square",), queries=queries)
    return {
        "Square": ~standing(square, "Square"),
        "RayS": ~standing(RayS(ball, queries=queries), "RayS"),
        "noise": ~standing(RandomNoise(ball), "noise"),
    }


def per_example(searched: Searched, fallen: Mapping[str, Tensor]) -> Finding:
    """Point 3: every example that an attack without gradients fools falls to PGD as well."""
    standing = searched.standing
    evidence = {name: percent(which & standing) for name, which in fallen.items()}
    any_of_them = percent(torch.stack([*fallen.values()]).any(0) & standing)
    evidence["any of them, and not PGD"] = any_of_them
    missed = any_of_them > searched.audited.limits.missed
    problems = ["attacks without gradients fool what PGD does not"] if missed else []
    return verdict(3, searched.ball, evidence, problems)


def decisions(searched: Searched, fallen: Mapping[str, Tensor]) -> Finding:
    """Point 4: attacks on scores and decisions do not lower the accuracy that PGD leaves."""
    evidence = {"PGD": percent(searched.standing)}
    for name in ("Square", "RayS"):
        evidence[f"PGD and {name}"] = percent(searched.standing & ~fallen[name])
    lower = min(evidence.values()) < evidence["PGD"] - searched.audited.limits.missed
    problems = ["an attack without gradients lowers accuracy"] if lower else []
    return verdict(4, searched.ball, evidence, problems)


def losses(searched: Searched) -> Finding:
    """Point 6: the margin and fixed targets find no more than the cross-entropy does."""
    evidence = {"cross-entropy": percent(searched.standing)}
    together = searched.standing
    once = replace(searched.strong, restarts=1)
    others: dict[str, Attack] = {
        "margin": replace(once, loss=OfLogits(margin)),
        "second class": Targeted(once, rank=1),
        "third class": Targeted(once, rank=2),
    }
    for name, attack in others.items():
        found = searched.audited.standing(attack, name)
        evidence[name], together = percent(found), together & found
    evidence["all"] = percent(together)
    lower = evidence["all"] < evidence["cross-entropy"] - searched.audited.limits.loss
    problems = ["another loss finds much that the cross-entropy does not"] if lower else []
    return verdict(6, searched.ball, evidence, problems)


def parts(searched: Searched, steps: int) -> Finding:
    """Point 7: steering the gate, or attacking the experts, finds no more than PGD does."""
    audited, ball, standing = searched.audited, searched.ball, searched.standing
    attacks: dict[str, Attack] = {}
    if isinstance(audited.model, Gated):
        attacks["steering"] = GateSteering(ball, steps, relative_step=5)
    if experts_of(audited.model):
        attacks["transfer"] = ExpertTransfer(ball, steps, relative_step=5)
    if not attacks:
        reason = "the model shows no gate or experts"
        return Finding.of(7, str(ball), "does not apply", {}, reason)
    evidence, problems = {"PGD": percent(standing)}, []
    for name, attack in attacks.items():
        left = percent(standing & audited.standing(attack, name))
        evidence[f"PGD and {name}"] = left
        if left < evidence["PGD"] - audited.limits.gate:
            problems.append(f"{name} lowers accuracy: plain PGD overrates the model")
    return verdict(7, ball, evidence, problems)
