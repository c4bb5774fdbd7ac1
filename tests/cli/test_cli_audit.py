"""``morex audit``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import FinishedRun, call

from morex.artifacts.findings import Audit, AuditedAccuracy, Finding
from morex.artifacts.statistics import Proportion
from morex.evaluation import masking_audit


def test_audit_prints_and_writes_its_findings(finished: FinishedRun, tmp_path: Path) -> None:
    model, out = finished.folder / "models/clean", tmp_path / "audit.json"
    budget = ("--examples", 60, "--steps", 2, "--queries", 5, "--out", out)
    code, said, err = call("audit", model, *budget)
    assert code in (0, 1), err
    made = Audit.model_validate_json(out.read_text())
    assert [*dict.fromkeys(finding.point for finding in made.findings)] == [*range(1, 8)]
    assert code == (not made.passes)
    assert "5. gradients, outputs and continuity" in said
    code, printed, aside = call("audit", model, *budget[:-2], "--json")
    assert Audit.model_validate_json(printed) == made
    assert [*aside.splitlines(), f"findings are in {out}"] == said.splitlines()


FLAGGED = Finding.of(2, "L2(eps=1)", "flag", {"eps 9": 80.0}, "a huge ball leaves images right", 40)
PASSED = Finding.of(5, None, "pass", {}, "no sign of masking", 40)
FEW = Finding.of(4, "L2(eps=1)", "too few to say", {}, "35 images are needed", 40)


@pytest.mark.parametrize(
    ("findings", "exit_code", "lines"),
    [
        (
            [FLAGGED, PASSED, FEW],
            1,
            [
                "FLAG  2. size of the ball in L2(eps=1), n 40: a huge ball leaves images right",
                "         still right in the ball of eps 9 80.0%",
                "pass  5. gradients, outputs and continuity, n 40: no sign of masking",
                "few   4. attacks that see decisions only in L2(eps=1), n 40: 35 images are needed",
                "1 of 3 points flagged: the gradients may be hidden",
            ],
        ),
        (
            [FEW],
            1,
            [
                "few   4. attacks that see decisions only in L2(eps=1), n 40: 35 images are needed",
                "too few images to say whether the gradients are hidden; use more with --examples",
            ],
        ),
        (
            [PASSED],
            0,
            [
                "pass  5. gradients, outputs and continuity, n 40: no sign of masking",
                "no sign of masking, which does not mean that the model is robust:",
            ],
        ),
    ],
)
def test_verdict_and_exit_code(
    findings: list[Finding],
    exit_code: int,
    lines: list[str],
    finished: FinishedRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accuracies = (
        AuditedAccuracy.of(None, Proportion(40, 50), 0.1),
        AuditedAccuracy.of("L2(eps=1)", Proportion(5, 50), 0.1),
    )

    def audit_model(*_: Any, report: Callable[[Finding], None], **options: Any) -> Audit:
        assert (options["examples"], options["steps"], options["queries"]) == (7, 3, 5)
        for finding in findings:
            report(finding)
        return Audit(findings=tuple(findings), accuracies=accuracies)

    monkeypatch.setattr(masking_audit, "audit_model", audit_model)
    budget = ("--examples", 7, "--steps", 3, "--queries", 5)
    code, said, _ = call("audit", finished.folder / "models/clean", *budget)
    assert code == exit_code
    assert said.splitlines()[2:] == [
        *lines,
        "  no attack  accuracy          80.0%  95% interval 67.0 to 88.8%, n 50",
        "  L2(eps=1)  accuracy at most  10.0%  95% interval 4.3 to 21.4%, n 50: not robust; one "
        "answer to all images gets 10.0%",
    ]
