"""Findings of the masking audit: one verdict per point of the checklist and ball.

``morex audit --out`` writes an ``Audit``, together with where it comes from, and the report page
reads it.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field

from morex.artifacts.schema import Schema
from morex.artifacts.statistics import Proportion

Verdict = Literal["pass", "flag", "too few to say", "does not apply"]
Standing = Literal["better than one answer", "no better than one answer", "not robust"]

POINTS = {
    1: "iterations and restarts",
    2: "size of the ball",
    3: "white-box against black-box, per example",
    4: "attacks that see decisions only",
    5: "gradients, outputs and continuity",
    6: "other losses and targets",
    7: "gate and experts",
}
"""The checklist."""

_MEASURED = {
    1: "still right after",
    2: "still right in the ball of",
    3: "fooled, but not by PGD:",
    4: "still right after",
    5: "measured:",
    6: "still right after",
    7: "still right after",
}
"""What the evidence of a point is, in words that its entries follow."""

_NO_SHARES = {
    "spread of the logits": " from the smallest to the largest",
    "difference of two answers": "% of the spread",
}
"""Units of what is no share of the images; logits have none."""


class Finding(Schema):
    """One point of the checklist in one ball.

    Attributes:
        point: its number in ``POINTS``.
        ball: the ball it was measured in; None for the points that need none.
        verdict: ``flag`` if the measurements show masking, ``too few to say`` if there are too few
            images to pass.
        evidence: the measurements, in percent of the n images. Two of point 5 are none: the spread
            of the logits has no unit, and the difference of two answers is in percent of it.
        reason: what is wrong, or that nothing is.
        name: what the point is about.
        n: number of images, all of which the model gets right unattacked. Older files lack it.
    """

    point: int
    ball: str | None = None
    verdict: Verdict
    evidence: dict[str, float] = Field(default_factory=dict)
    reason: str = ""
    name: str
    n: int | None = None

    @classmethod
    def of(
        cls,
        point: int,
        ball: str | None,
        verdict: Verdict,
        evidence: Mapping[str, float],
        reason: str,
        n: int | None = None,
    ) -> Self:
        """Return a finding at a point of the checklist, under the point's name."""
        return cls(
            point=point,
            ball=ball,
            verdict=verdict,
            evidence=dict(evidence),
            reason=reason,
            name=POINTS[point],
            n=n,
        )

    @property
    def measured(self) -> str:
        """The evidence in words, with units; empty if there is none."""
        entries = (
            f"{name} {value:.1f}{_NO_SHARES.get(name, '%')}"
            for name, value in self.evidence.items()
        )
        listed = ", ".join(entries)
        return f"{_MEASURED[self.point]} {listed}" if listed else ""


class AuditedAccuracy(Schema):
    """How often the model is right, on all images of the audit.

    Attributes:
        ball: the ball in which all attacks of the audit searched; None without an attack.
        accuracy: share of right answers, in [0, 1]. In a ball the true one is at most this.
        interval: its 95% interval (Wilson).
        n: number of images.
        one_answer: share of the most frequent class: what one answer to all images gets.
        verdict: whether the whole interval lies above that. If not, the model is not robust.
    """

    ball: str | None
    accuracy: float
    interval: tuple[float, float]
    n: int
    one_answer: float
    verdict: Standing

    @classmethod
    def of(cls, ball: str | None, share: Proportion, one_answer: float) -> Self:
        """Return the accuracy with its verdict."""
        worse: Standing = "not robust" if ball else "no better than one answer"
        better = share.interval[0] > one_answer
        verdict: Standing = "better than one answer" if better else worse
        return cls(ball=ball, **share.content(), one_answer=one_answer, verdict=verdict)

    @property
    def share(self) -> Proportion:
        """The accuracy with its n."""
        return Proportion(round(self.accuracy * self.n), self.n)


class Audit(Schema):
    """All findings on one model, and its accuracies.

    Attributes:
        findings: one for each point and ball.
        accuracies: those of the model; empty in older files.
        weights: the checksum of the weights that were audited; empty in older files.
    """

    findings: tuple[Finding, ...]
    weights: str = ""
    accuracies: tuple[AuditedAccuracy, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether no point is flagged, and none has too few images."""
        return all(finding.verdict in ("pass", "does not apply") for finding in self.findings)
