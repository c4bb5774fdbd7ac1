"""``morex audit``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import FinishedRun, call

from morex.artifacts.findings import Finding
from morex.evaluation import masking_audit


def test_audit_prints_and_writes_its_findings(finished: FinishedRun, tmp_path: Path) -> None:
    model, out = finished.folder / "models/clean", tmp_path / "audit.json"
    budget = ("--examples", 60, "--steps", 2, "--queries", 5, "--out", out)
    code, said, err = call("audit", model, *budget)
    assert code in (0, 1), err
    findings = json.loads(out.read_text())["findings"]
    assert {finding["point"] for finding in findings} == {*range(1, 8)}
    assert code == any(finding["verdict"] == "flag" for finding in findings)
    assert "5. gradients, outputs and continuity" in said


def test_a_flag_is_shown_and_gives_exit_code_1(
    finished: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged = Finding.of(2, "L2(eps=1)", "flag", {"eps 9": 80.0}, "a huge ball leaves images right")
    passed = Finding.of(5, None, "pass", {}, "no sign of masking")

    def audit_model(*_: Any, report: Callable[[Finding], None], **options: Any) -> list[Finding]:
        assert (options["examples"], options["steps"], options["queries"]) == (7, 3, 5)
        for finding in (flagged, passed):
            report(finding)
        return [flagged, passed]

    monkeypatch.setattr(masking_audit, "audit_model", audit_model)
    budget = ("--examples", 7, "--steps", 3, "--queries", 5)
    code, said, _ = call("audit", finished.folder / "models/clean", *budget)
    assert code == 1
    assert said.splitlines()[1:] == [
        "FLAG  2. size of the ball in L2(eps=1): a huge ball leaves images right",
        "         eps 9 80",
        "pass  5. gradients, outputs and continuity: no sign of masking",
        "1 of 2 points flagged",
    ]
