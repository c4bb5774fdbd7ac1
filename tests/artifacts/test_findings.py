"""Audits are written and read by one definition, and the published ones can still be read."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from morex.artifacts.findings import POINTS, Audit, AuditedAccuracy, Finding
from morex.artifacts.statistics import Proportion

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(RESULTS.glob("*/audits/*.json"))


def test_a_finding_carries_the_name_of_its_point() -> None:
    found = Finding.of(3, "L2(eps=1)", "flag", {"RayS": 12.5}, "found more", 40)
    assert json.loads(json.dumps(found.model_dump())) == {
        "point": 3,
        "ball": "L2(eps=1)",
        "verdict": "flag",
        "evidence": {"RayS": 12.5},
        "reason": "found more",
        "name": POINTS[3],
        "n": 40,
    }


@pytest.mark.parametrize(
    ("point", "evidence", "words"),
    [
        (2, {"eps 4/255": 12.345, "eps 0.5": 0.0}, "in the ball of eps 4/255 12.3%, eps 0.5 0.0%"),
        (5, {"spread of the logits": 8.1, "difference of two answers": 0.0}, "logits 8.1 from the"),
        (5, {"spread of the logits": 8.1, "difference of two answers": 0.0}, "0.0% of the spread"),
    ],
)
def test_every_measurement_has_a_unit(point: int, evidence: dict[str, float], words: str) -> None:
    assert words in Finding.of(point, None, "pass", evidence, "").measured
    assert Finding.of(point, None, "pass", {}, "").measured == ""


@pytest.mark.parametrize(
    ("hits", "ball", "verdict"),
    [
        (30, "L2(eps=1)", "not robust"),  # 22 to 40%, and one answer gets 25%
        (40, "L2(eps=1)", "better than one answer"),  # 31 to 50%
        (30, None, "no better than one answer"),
        (40, None, "better than one answer"),
    ],
)
def test_an_accuracy_is_compared_with_that_of_one_answer(
    hits: int, ball: str | None, verdict: str
) -> None:
    found = AuditedAccuracy.of(ball, Proportion(hits, 100), one_answer=0.25)
    assert found.verdict == verdict
    assert found.share == Proportion(hits, 100)


def test_an_audit_is_read_as_it_was_written() -> None:
    audit = Audit(findings=(Finding.of(5, None, "pass", {"jumps": 0.0}, "no sign of masking"),))
    assert Audit.model_validate_json(json.dumps({"model": "m"} | audit.model_dump())) == audit


def test_there_are_published_audits() -> None:
    assert PUBLISHED


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_published_audits_keep_every_finding(path: Path) -> None:
    written = json.loads(path.read_text())["findings"]
    found = Audit.model_validate_json(path.read_text()).findings
    assert [finding.content() for finding in found] == written
    assert all(finding.n and finding.n >= 35 for finding in found)
    assert [f.point for f in found] == sorted(f.point for f in found)
    assert {(finding["point"], finding["name"]) for finding in written} == {*POINTS.items()}


def test_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(ValidationError, match="verdict"):
        Finding.model_validate({"point": 1, "name": "size", "verdict": "maybe"})
