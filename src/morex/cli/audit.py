"""``morex audit``: is a model robust, or does it only hide its gradients?"""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.options import (
    AnyModel,
    DataFolder,
    Device,
    InputRange,
    Mean,
    OtherRecipe,
    Seed,
    Std,
    TrustCode,
    read_request,
)
from morex.cli.output import say

if TYPE_CHECKING:
    from morex.artifacts.findings import Finding
    from morex.cli.load_model import EvaluationRequest

_SIGNS = {"pass": "pass", "flag": "FLAG", "does not apply": "n/a "}

AuditExamples = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="How many test images to use; those that the model gets wrong are left out.",
    ),
]
Steps = Annotated[int, typer.Option(min=1, metavar="N", help="The steps of PGD.")]
Queries = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="The queries per image of attacks that use no gradients.",
    ),
]
FindingsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write the findings to this JSON file; the report page of a run shows those in "
        "RUN/audits.",
    ),
]


def audit(
    model: AnyModel,
    recipe: OtherRecipe = None,
    data: DataFolder = None,
    examples: AuditExamples = 100,
    steps: Steps = 20,
    queries: Queries = 400,
    seed: Seed = 0,
    input_range: InputRange = "0..1",
    mean: Mean = "",
    std: Std = "",
    device: Device = None,
    out: FindingsFile = None,
    trust_code: TrustCode = False,
) -> None:
    """Check whether a model is robust or only hides its gradients.

    Seven points are checked, each by a measurement in the Linf and L2 balls of the recipe. The
    exit code is 1 if a point is flagged.

    Example: `morex audit runs/digits/models/more-all`
    """
    pixels = {"input_range": input_range, "mean": mean, "std": std}
    request = read_request(
        model, recipe, data, examples, seed, device, out, trust_code=trust_code, **pixels
    )
    findings = print_audit(request, examples, steps, queries, say)
    if any(finding.verdict == "flag" for finding in findings):
        raise typer.Exit(1)


def print_audit(
    request: "EvaluationRequest",
    examples: int,
    steps: int,
    queries: int,
    say: Callable[[str], None],
) -> "list[Finding]":
    """Audit a model in the Linf and L2 balls of its recipe, and return all findings.

    Every finding is given to ``say`` as soon as it is made.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``; also if the recipe
            has no such ball.
    """
    from morex.artifacts.findings import Audit
    from morex.cli.load_model import open_for_evaluation, with_provenance, write_json
    from morex.core.threads import threads
    from morex.evaluation.masking_audit import audit_model
    from morex.perturbations import L2, Linf

    network, builder = open_for_evaluation(request, say)
    balls = [b for b in builder.recipe.attacked().values() if isinstance(b, Linf | L2)]
    say(f"{examples} test images of {builder.data.name}, without those that the model gets wrong")
    with threads(builder.recipe.threads):
        findings = audit_model(
            network,
            builder.test_data,
            balls,
            examples=examples,
            steps=steps,
            queries=queries,
            seed=request.seed,
            report=lambda finding: say(_text(finding)),
        )
    say(_verdict(findings))
    if request.out:
        write_json(request.out, with_provenance(request, Audit(findings=tuple(findings)).content()))
    return findings


def _verdict(findings: "list[Finding]") -> str:
    flags = sum(finding.verdict == "flag" for finding in findings)
    return f"{flags} of {len(findings)} points flagged" if flags else "no sign of masking"


def _text(finding: "Finding") -> str:
    where = f" in {finding.ball}" if finding.ball else ""
    evidence = ", ".join(f"{name} {value:g}" for name, value in finding.evidence.items())
    head = f"{_SIGNS[finding.verdict]}  {finding.point}. {finding.name}{where}: {finding.reason}"
    return head + ("\n" + textwrap.indent(evidence, " " * 9) if evidence else "")
