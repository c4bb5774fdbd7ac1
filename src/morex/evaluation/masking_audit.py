"""Is a model robust, or does it only hide its gradients? Seven points, each measured.

The checklist of Carlini et al. ("On evaluating adversarial robustness", 2019) and of AutoAttack's
own warnings (Croce & Hein 2020). Robust accuracy says nothing while gradients are masked, so every
point compares something that masking would change: more effort, larger balls, attacks without
gradients, other losses, attacks on parts of the model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from morex.artifacts.findings import Finding, Verdict
from morex.attacks import (
    PGD,
    Attack,
    AutoAttack,
    ExpertTransfer,
    GateSteering,
    OfLogits,
    RandomNoise,
    RayS,
    frozen,
)
from morex.attacks.gate_steering import Gated
from morex.attacks.losses import TowardsRival, margin
from morex.attacks.pgd import cross_entropy
from morex.attacks.transfer import HasExperts
from morex.core.precision import exact_float32
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.evaluation.feasibility import check_feasible
from morex.perturbations import L2, Ball, Linf


@dataclass(frozen=True)
class Limits:
    """What is still chance and what is a sign of masking, in percent of the examples.

    Args:
        effort: by how much twice the steps and restarts may lower accuracy.
        remains: accuracy that may be left in a ball in which nothing can be right.
        missed: examples that another attack may fool and strong PGD not.
        silent: examples that may have no gradient at all.
        loss: by how much another loss may lower accuracy.
        gate: by how much attacks on the gate and the experts may lower it.
    """

    effort: float = 4.0
    remains: float = 5.0
    missed: float = 3.0
    silent: float = 10.0
    loss: float = 5.0
    gate: float = 3.0


def audit_model(
    model: nn.Module,
    data: ImageSet,
    balls: Sequence[Ball],
    *,
    examples: int = 100,
    steps: int = 20,
    queries: int = 400,
    seed: int = 0,
    limits: Limits | None = None,
    report: Callable[[Finding], None] | None = None,
) -> list[Finding]:
    """Go through the checklist on images that the model gets right.

    Args:
        model: images in [0, 1] to logits, on the device of the data.
        data: test images; the first ``examples`` are used.
        balls: where the model is said to be robust; Linf and L2.
        examples: how many images.
        steps: of PGD.
        queries: of attacks without gradients, per example.
        seed: of all attacks.
        limits: what counts as a sign.
        report: given every finding as it is made.

    Returns:
        A finding per point, and per ball where a point has one.

    Raises:
        ValueError: if there is no ball, or one of another norm.
    """
    if not balls or not all(isinstance(ball, Linf | L2) for ball in balls):
        raise ValueError(f"an audit needs Linf or L2 balls, got {balls}")
    findings = []
    with exact_float32(), frozen(model):
        x, y = _right_images(model, data, examples)
        auditor = _Auditor(model, x, y, steps, queries, seed, limits or Limits())
        for finding in auditor.findings(balls):
            findings.append(finding)
            if report:
                report(finding)
    return findings


def _right_images(model: nn.Module, data: ImageSet, examples: int) -> tuple[Tensor, Tensor]:
    images = data.first(examples)
    x, y = images.pixels(slice(None)), images.labels
    with torch.no_grad():
        right = model(x).argmax(1) == y
    if not right.any():
        raise ValueError("the model gets none of the images right: there is nothing to audit")
    return x[right], y[right]


@dataclass
class _Auditor:
    """A model, images that it gets right, and the budget."""

    model: nn.Module
    x: Tensor
    y: Tensor
    steps: int
    queries: int
    seed: int
    limits: Limits

    def findings(self, balls: Sequence[Ball]) -> Iterator[Finding]:
        for ball in balls:
            strong = self.strong(ball)
            standing = self.standing(strong, "strong")
            yield self.effort(ball, strong, standing)
            yield self.sizes(ball, strong, standing)
            fallen_blindly = self.blind(ball)
            yield self.per_example(ball, standing, fallen_blindly)
            yield self.decisions(ball, standing, fallen_blindly)
            yield self.losses(ball, strong, standing)
            yield self.parts(ball, standing)
        yield self.outputs()

    def strong(self, ball: Ball) -> PGD:
        """The attack that everything is compared with."""
        return PGD(
            ball,
            2 * self.steps,
            relative_step=10,
            restarts=2,
            stop_when_fooled=True,
        )

    def standing(self, attack: Attack, name: str) -> Tensor:
        """Return where the model is right under an attack, (N,)."""
        generator = generator_for(self.seed, "audit", name, device=self.x.device)
        moved = attack.search(self.model, self.x, self.y, generator).detach()
        check_feasible(attack.perturbation, self.x, moved, name)
        return self.right(moved)

    @torch.no_grad()
    def right(self, moved: Tensor) -> Tensor:
        """Return where the model is right, (N,)."""
        right: Tensor = self.model(moved).argmax(1) == self.y
        return right

    def share(self, which: Tensor) -> float:
        """Return the percentage of true entries."""
        return round(100 * float(which.double().mean()), 2)

    def finding(
        self, point: int, ball: Ball | None, evidence: dict[str, float], problems: list[str]
    ) -> Finding:
        """Return a finding that is flagged if there are problems."""
        verdict: Verdict = "flag" if problems else "pass"
        reason = "; ".join(problems) or "no sign of masking"
        return Finding.of(point, str(ball) if ball else None, verdict, evidence, reason)

    def effort(self, ball: Ball, strong: PGD, standing: Tensor) -> Finding:
        """Point 1: iterating beats one step, and twice the effort changes next to nothing."""
        one = PGD(ball, steps=1, relative_step=1, random_start=False)
        more = replace(strong, steps=2 * strong.steps, restarts=2 * strong.restarts)
        evidence = {
            "one step": self.share(self.standing(one, "one step")),
            f"{strong.steps} steps, {strong.restarts} restarts": self.share(standing),
            f"{more.steps} steps, {more.restarts} restarts": self.share(
                self.standing(more, "more")
            ),
        }
        single, usual, most = evidence.values()
        problems = []
        if single < usual - self.limits.missed:
            problems.append("one step fools more than many do")
        if most < usual - self.limits.effort:
            problems.append("twice the steps and restarts lower accuracy further")
        return self.finding(1, ball, evidence, problems)

    def sizes(self, ball: Ball, strong: PGD, standing: Tensor) -> Finding:
        """Point 2: accuracy falls with the radius, and to nothing where nothing can be right."""
        pixels = self.x[0].numel()
        everything = 0.5 if isinstance(ball, Linf) else 0.5 * pixels**0.5
        radii = [ball.eps * factor for factor in (0.5, 1, 2, 4)]
        radii = [radius for radius in radii if radius < everything] + [everything]
        shares = []
        for radius in radii:
            attack = replace(strong, perturbation=replace(ball, eps=radius))
            known = radius == ball.eps  # it was attacked for the other points
            right = standing if known else self.standing(attack, f"radius {radius}")
            shares.append(self.share(right))
        evidence = {f"eps {r:.3g}": s for r, s in zip(radii, shares, strict=True)}
        problems = []
        if any(later > sooner + self.limits.missed for sooner, later in pairwise(shares)):
            problems.append("accuracy grows with the radius")
        if shares[-1] > self.limits.remains:
            problems.append("something is right where nothing can be")
        return self.finding(2, ball, evidence, problems)

    def blind(self, ball: Ball) -> dict[str, Tensor]:
        """Return what attacks without gradients fool: Square, RayS, and noise."""
        square = AutoAttack(ball, attacks=("square",), queries=self.queries)
        return {
            "Square": ~self.standing(square, "Square"),
            "RayS": ~self.standing(RayS(ball, queries=self.queries), "RayS"),
            "noise": ~self.standing(RandomNoise(ball), "noise"),
        }

    def per_example(self, ball: Ball, standing: Tensor, fallen: dict[str, Tensor]) -> Finding:
        """Point 3: what a blind attack fools, strong PGD fools as well."""
        evidence = {name: self.share(which & standing) for name, which in fallen.items()}
        evidence["any of them, and not PGD"] = self.share(
            torch.stack([*fallen.values()]).any(0) & standing
        )
        missed = evidence["any of them, and not PGD"] > self.limits.missed
        problems = ["attacks without gradients fool what PGD does not"] if missed else []
        return self.finding(3, ball, evidence, problems)

    def decisions(self, ball: Ball, standing: Tensor, fallen: dict[str, Tensor]) -> Finding:
        """Point 4: score- and decision-based attacks do not lower the gradient attack's figure."""
        evidence = {"PGD": self.share(standing)}
        for name in ("Square", "RayS"):
            evidence[f"PGD and {name}"] = self.share(standing & ~fallen[name])
        lower = min(evidence.values()) < evidence["PGD"] - self.limits.missed
        problems = ["an attack without gradients lowers accuracy"] if lower else []
        return self.finding(4, ball, evidence, problems)

    def losses(self, ball: Ball, strong: PGD, standing: Tensor) -> Finding:
        """Point 6: the margin, and targets, find no more than the cross-entropy does."""
        evidence = {"cross-entropy": self.share(standing)}
        together = standing
        for name, loss in (
            ("margin", OfLogits(margin)),
            ("second class", TowardsRival(1)),
            ("third class", TowardsRival(2)),
        ):
            found = self.standing(replace(strong, restarts=1, loss=loss), name)
            evidence[name], together = self.share(found), together & found
        evidence["all"] = self.share(together)
        lower = evidence["all"] < evidence["cross-entropy"] - self.limits.loss
        problems = ["another loss finds much that the cross-entropy does not"] if lower else []
        return self.finding(6, ball, evidence, problems)

    def parts(self, ball: Ball, standing: Tensor) -> Finding:
        """Point 7: steering the gate, or attacking the experts, finds no more than the whole."""
        attacks: dict[str, Attack] = {}
        if isinstance(self.model, Gated):
            attacks["steering"] = GateSteering(ball, self.steps, relative_step=5)
        if isinstance(self.model, HasExperts):
            attacks["transfer"] = ExpertTransfer(ball, self.steps, relative_step=5)
        if not attacks:
            reason = "the model shows no gate or experts"
            return Finding.of(7, str(ball), "does not apply", {}, reason)
        evidence, problems = {"PGD": self.share(standing)}, []
        for name, attack in attacks.items():
            evidence[f"PGD and {name}"] = self.share(standing & self.standing(attack, name))
            if evidence[f"PGD and {name}"] < evidence["PGD"] - self.limits.gate:
                problems.append(f"{name} lowers accuracy: plain PGD flatters the model")
        return self.finding(7, ball, evidence, problems)

    def outputs(self) -> Finding:
        """Point 5: there are gradients, the outputs are logits, and nothing jumps or is drawn."""
        with torch.no_grad():
            logits = self.model(self.x).float()
            again, alone = self.model(self.x).float(), self.model(self.x[:1]).float()
        scale = float((logits.amax(1) - logits.amin(1)).mean()) or 1.0
        evidence = {
            "no gradient": self.share(self._silent()),
            "spread of the logits": round(scale, 3),
            "jumps": self.share(self._jumps(scale)),
            "difference of two answers": round(float((logits - again).abs().max()) / scale, 6),
        }
        probabilities = bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all())
        hard = isinstance(self.model, Gated) and _is_hard(self.model.gate_weights(self.x))
        signs = {
            "many images have no gradient": evidence["no gradient"] > self.limits.silent,
            "the outputs are probabilities, not logits": probabilities,
            "two answers to one image differ": evidence["difference of two answers"] > 1e-3,
            "an answer depends on the other images": float((alone - logits[:1]).abs().max())
            > 1e-2 * scale,
            "the answer jumps: a step is not differentiable": evidence["jumps"]
            > self.limits.silent,
            "the gate picks one expert and hides the others": hard,
        }
        return self.finding(5, None, evidence, [sign for sign, is_so in signs.items() if is_so])

    def _silent(self) -> Tensor:
        """Return which images get no gradient of the cross-entropy, (N,)."""
        leaf = self.x.clone().requires_grad_()
        with torch.enable_grad():
            loss = cross_entropy(self.model(leaf), self.y).sum()
            if not loss.requires_grad:
                return torch.ones_like(self.y, dtype=torch.bool)
            (gradient,) = torch.autograd.grad(loss, leaf, materialize_grads=True, allow_unused=True)
        return gradient.flatten(1).abs().amax(1) == 0

    @torch.no_grad()
    def _jumps(self, scale: float, points: int = 33, halvings: int = 12) -> Tensor:
        """Return on which paths from an image to the next one the logits jump, (n,).

        The interval with the largest change is halved again and again, each time keeping the half
        that changes more. What is continuous changes less and less.
        """
        start, end = self.x[:32], self.x.roll(1, 0)[:32]
        low = torch.zeros(len(start), device=start.device)
        high = torch.ones_like(low)
        at = torch.linspace(0, 1, points, device=start.device)
        path = torch.stack([self._between(start, end, t.expand(len(start))) for t in at])
        steps = (path[1:] - path[:-1]).abs().amax(2)
        widest = steps.argmax(0)
        low, high = at[widest], at[widest + 1]
        for _ in range(halvings):
            middle = (low + high) / 2
            left, centre, right = (self._between(start, end, t) for t in (low, middle, high))
            first = (centre - left).abs().amax(1) >= (right - centre).abs().amax(1)
            low, high = torch.where(first, low, middle), torch.where(first, middle, high)
        left, right = self._between(start, end, low), self._between(start, end, high)
        return (right - left).abs().amax(1) > 0.02 * scale

    def _between(self, start: Tensor, end: Tensor, at: Tensor) -> Tensor:
        weight = at.view(-1, 1, 1, 1)
        logits: Tensor = self.model(start + weight * (end - start)).float()
        return logits


def _is_hard(weights: Tensor) -> bool:
    """Say whether a gate gives all its weight to one expert, everywhere and to the last bit."""
    return weights.shape[1] > 1 and bool(((weights == 0) | (weights == 1)).all())
