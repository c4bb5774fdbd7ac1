"""Findings of the masking audit: one verdict per point of the checklist and ball.

``morex audit --out`` writes an ``Audit``, together with where it comes from, and the report page
reads it.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field

from morex.artifacts.schema import Schema

Verdict = Literal["pass", "flag", "does not apply"]

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


class Finding(Schema):
    """One point of the checklist in one ball.

    Attributes:
        point: its number in ``POINTS``.
        ball: the ball it was measured in; None for the points that need none.
        verdict: ``flag`` if the measurements show masking.
        evidence: the measurements; shares of examples are in percent.
        reason: what is wrong, or that nothing is.
        name: what the point is about.
    """

    point: int
    ball: str | None = None
    verdict: Verdict
    evidence: dict[str, float] = Field(default_factory=dict)
    reason: str = ""
    name: str

    @classmethod
    def of(
        cls,
        point: int,
        ball: str | None,
        verdict: Verdict,
        evidence: Mapping[str, float],
        reason: str,
    ) -> Self:
        """Return a finding at a point of the checklist, under the point's name."""
        return cls(
            point=point,
            ball=ball,
            verdict=verdict,
            evidence=dict(evidence),
            reason=reason,
            name=POINTS[point],
        )


class Audit(Schema):
    """All findings on one model."""

    findings: tuple[Finding, ...]
