"""Audits are written and read by one definition, and the published ones can still be read."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from morex.artifacts.findings import POINTS, Audit, Finding

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(RESULTS.glob("*/audits/*.json"))


def test_a_finding_carries_the_name_of_its_point() -> None:
    found = Finding.of(3, "L2(eps=1)", "flag", {"RayS": 12.5}, "found more")
    assert json.loads(json.dumps(found.model_dump())) == {
        "point": 3,
        "ball": "L2(eps=1)",
        "verdict": "flag",
        "evidence": {"RayS": 12.5},
        "reason": "found more",
        "name": POINTS[3],
    }


def test_an_audit_is_read_as_it_was_written() -> None:
    audit = Audit(findings=(Finding.of(5, None, "pass", {"jumps": 0.0}, "no sign of masking"),))
    assert Audit.model_validate_json(json.dumps({"model": "m"} | audit.model_dump())) == audit


def test_there_are_published_audits() -> None:
    assert PUBLISHED


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_published_audits_keep_every_finding(path: Path) -> None:
    written = json.loads(path.read_text())["findings"]
    assert Audit.model_validate_json(path.read_text()).model_dump()["findings"] == tuple(written)
    assert {(finding["point"], finding["name"]) for finding in written} == {*POINTS.items()}


def test_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(ValidationError, match="verdict"):
        Finding.model_validate({"point": 1, "name": "size", "verdict": "maybe"})
