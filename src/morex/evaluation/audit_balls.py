"""The points of the masking audit that are measured in a ball: 1 to 4, 6 and 7.

Each compares the strong PGD with something that masking would change: more effort, other radii,
attacks without gradients, other losses, attacks on parts of the model.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from morex.artifacts.findings import Finding
from morex.attacks import PGD, Attack
from morex.core.units import fraction
from morex.evaluation.audit_attacks import (
    MORE,
    ONE,
    STRONG,
    WITHOUT_SQUARE,
    attacks_in,
    radii,
    radius_name,
)
from morex.evaluation.audit_basis import Audited, in_percent
from morex.perturbations import Ball


class Searched:
    """A model under the attacks of the audit in one ball; each runs once, when it is asked for.

    Args:
        audited: the model, its images and the limits.
        ball: an Linf or L2 ball.
        steps: of PGD.
        queries: of attacks without gradients, per example.
        finished: called with the name of each attack that has run.
    """

    def __init__(
        self,
        audited: Audited,
        ball: Ball,
        steps: int,
        queries: int,
        finished: Callable[[str], None] | None = None,
    ) -> None:
        self.audited, self.ball, self.limits = audited, ball, audited.limits
        self.pixels = audited.x[0].numel()
        self.attacks = attacks_in(ball, audited.model, self.pixels, steps, queries)
        self.finished = finished or (lambda name: None)
        self._standing: dict[str, Tensor] = {}

    def standing(self, point: int, name: str) -> Tensor:
        """Return where the model is right under an attack of a point, (N,)."""
        if name not in self._standing:
            attack = self.attacks[point][name]
            self._standing[name] = self.audited.standing(attack, name)
            self.finished(name)
        return self._standing[name]

    @property
    def strong(self) -> Tensor:
        """Where the model is right under the strong PGD, (N,)."""
        return self.standing(1, STRONG)

    def under(self, point: int) -> dict[str, Tensor]:
        """Return where the model is right under every attack of a point, by name."""
        return {name: self.standing(point, name) for name in self.attacks[point]}

    def left(self) -> Tensor:
        """Return where the model is right under all attacks that have run in this ball, (N,)."""
        inside = [
            self._standing[name]
            for attacks in self.attacks.values()
            for name, attack in attacks.items()
            if name in self._standing and _eps(attack) <= self.ball.eps
        ]
        return torch.stack(inside).all(0)

    def verdict(
        self, point: int, evidence: Mapping[str, float], problems: list[str], note: str = ""
    ) -> Finding:
        """Return a finding in this ball, flagged if there is a problem."""
        return self.audited.verdict(point, evidence, problems, ball=self.ball, note=note)


def _eps(attack: Attack) -> float:
    assert isinstance(attack.perturbation, Ball)
    return attack.perturbation.eps


def effort(searched: Searched) -> Finding:
    """Point 1: many steps beat one, and doubling the effort changes almost nothing."""
    right, limits = searched.under(1), searched.limits
    single, usual, most = (in_percent(right[name]) for name in (ONE, STRONG, MORE))
    evidence = {
        ONE: single,
        _budget(searched, STRONG): usual,
        _budget(searched, MORE): most,
    }
    problems = []
    if single < usual - limits.missed:
        problems.append("one step fools more than many steps")
    if most < usual - limits.effort:
        problems.append("twice the steps and restarts lower accuracy further")
    return searched.verdict(1, evidence, problems)


def _budget(searched: Searched, name: str) -> str:
    attack = searched.attacks[1][name]
    assert isinstance(attack, PGD)
    return f"{attack.restarts} x {attack.steps} steps"


def sizes(searched: Searched) -> Finding:
    """Point 2: accuracy falls with the radius, down to nothing where no model can be right."""
    limits = searched.limits
    sizes = radii(searched.ball, searched.pixels)
    shares = [in_percent(_standing_at(searched, radius)) for radius in sizes]
    evidence = {f"eps {fraction(r)}": share for r, share in zip(sizes, shares, strict=True)}
    problems = []
    if any(later > sooner + limits.missed for sooner, later in pairwise(shares)):
        problems.append("accuracy grows with the radius")
    if shares[-1] > limits.remains:
        problems.append("some images stay right where no model can be")
    return searched.verdict(2, evidence, problems)


def _standing_at(searched: Searched, radius: float) -> Tensor:
    if radius == searched.ball.eps:
        return searched.strong
    return searched.standing(2, radius_name(radius))


def per_example(searched: Searched) -> Finding:
    """Point 3: every example that an attack without gradients fools falls to PGD as well."""
    fallen = {name: ~right & searched.strong for name, right in searched.under(3).items()}
    fallen["any of them"] = torch.stack([*fallen.values()]).any(0)
    evidence = {name: in_percent(which) for name, which in fallen.items()}
    missed = evidence["any of them"] > searched.limits.missed
    problems = ["attacks without gradients fool what PGD does not"] if missed else []
    return searched.verdict(3, evidence, problems, _left_out(searched))


def decisions(searched: Searched) -> Finding:
    """Point 4: attacks on scores and decisions do not lower the accuracy that PGD leaves."""
    evidence = {"PGD": in_percent(searched.strong)}
    for name, right in searched.under(3).items():
        if name != "noise":
            evidence[f"PGD and {name}"] = in_percent(searched.strong & right)
    lower = min(evidence.values()) < evidence["PGD"] - searched.limits.missed
    problems = ["an attack without gradients lowers accuracy"] if lower else []
    return searched.verdict(4, evidence, problems, _left_out(searched))


def _left_out(searched: Searched) -> str:
    return "" if "Square" in searched.attacks[3] else WITHOUT_SQUARE


def losses(searched: Searched) -> Finding:
    """Point 6: the margin and fixed targets find no more than the cross-entropy does."""
    right = {"cross-entropy": searched.strong, **searched.under(6)}
    right["all"] = torch.stack([*right.values()]).all(0)
    evidence = {name: in_percent(which) for name, which in right.items()}
    lower = evidence["all"] < evidence["cross-entropy"] - searched.limits.loss
    problems = ["another loss finds much that the cross-entropy does not"] if lower else []
    return searched.verdict(6, evidence, problems)


def parts(searched: Searched) -> Finding:
    """Point 7: steering the gate, or attacking the experts, finds no more than PGD does."""
    if not searched.attacks[7]:
        reason = "the model shows no gate or experts"
        n = len(searched.audited.x)
        return Finding.of(7, str(searched.ball), "does not apply", {}, reason, n)
    evidence, problems = {"PGD": in_percent(searched.strong)}, []
    for name, right in searched.under(7).items():
        left = in_percent(searched.strong & right)
        evidence[f"PGD and {name}"] = left
        if left < evidence["PGD"] - searched.limits.gate:
            problems.append(f"{name} lowers accuracy: plain PGD overrates the model")
    return searched.verdict(7, evidence, problems)
