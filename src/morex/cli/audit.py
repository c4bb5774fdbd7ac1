"""``morex audit``: is a model robust, or does it hide its gradients?"""

import textwrap
from collections.abc import Callable

from morex.artifacts.findings import Audit, Finding
from morex.cli.load_model import EvaluationRequest, open_for_evaluation, write_json
from morex.evaluation.masking_audit import audit_model
from morex.perturbations import L2, Linf
from morex.run.cores import threads

_SIGNS = {"pass": "pass", "flag": "FLAG", "does not apply": "n/a "}


def audit_saved(
    request: EvaluationRequest, *, steps: int, queries: int, say: Callable[[str], None]
) -> list[Finding]:
    """Audit a model in the Linf and L2 balls of its recipe, say every finding, and return all.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``; also if the recipe
            has no such ball.
    """
    network, workshop = open_for_evaluation(request, say)
    over = workshop.recipe.attacked().values()
    balls = [ball for ball in over if isinstance(ball, Linf | L2)]
    images, examples = workshop.test_data, request.examples or 100
    say(f"{examples} test images of {workshop.data.name}, those that the model gets right")
    with threads(workshop.recipe.threads):
        findings = audit_model(
            network,
            images,
            balls,
            examples=examples,
            steps=steps,
            queries=queries,
            seed=request.seed,
            report=lambda finding: say(_text(finding)),
        )
    flags = [finding for finding in findings if finding.verdict == "flag"]
    say(f"{len(flags)} of {len(findings)} points flagged" if flags else "no sign of masking")
    if request.out:
        write_json(request, request.out, Audit(findings=tuple(findings)).content())
    return findings


def _text(finding: Finding) -> str:
    where = f" in {finding.ball}" if finding.ball else ""
    evidence = ", ".join(f"{name} {value:g}" for name, value in finding.evidence.items())
    head = f"{_SIGNS[finding.verdict]}  {finding.point}. {finding.name}{where}: {finding.reason}"
    return head + ("\n" + textwrap.indent(evidence, " " * 9) if evidence else "")
