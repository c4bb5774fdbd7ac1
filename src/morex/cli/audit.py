"""``morex audit``: is a model robust, or does it only hide its gradients?"""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from morex.cli.output import AsJson, in_words, lines_beside, print_json
from morex.core.units import percent

if TYPE_CHECKING:
    from morex.artifacts.findings import Audit, AuditedAccuracy, Finding
    from morex.cli.load_model import EvaluationRequest

_SIGNS = {"pass": "pass", "flag": "FLAG", "too few to say": "few ", "does not apply": "n/a "}

AuditExamples = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="How many test images to use; those that the model gets wrong are left out.",
    ),
]
Steps = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="The steps of PGD. Point 1 also tries twice as many; each search of steering and "
        "transfer, which consist of several, takes half.",
    ),
]
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
    steps: Steps = 40,
    queries: Queries = 400,
    seed: Seed = 0,
    input_range: InputRange = "0..1",
    mean: Mean = "",
    std: Std = "",
    device: Device = None,
    out: FindingsFile = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Check whether a model is robust or only hides its gradients.

    Seven points are checked, each by a measurement in the Linf and L2 balls of the recipe, on the
    images that the model gets right. A point passes if nothing looks like hidden gradients. That
    does not mean that the model is robust: the last lines say how accurate it is at most.

    The exit code is 0 if every point passes or does not apply, and 1 if one is flagged or there are
    too few images to say.

    Example: `morex audit runs/digits/models/more-all`
    """
    pixels = {"input_range": input_range, "mean": mean, "std": std}
    request = read_request(
        model, recipe, data, examples, seed, device, out, trust_code=trust_code, **pixels
    )
    found, passes = do_audit(request, examples, steps, queries, lines_beside(as_json))
    if as_json:
        print_json(found)
    if not passes:
        raise typer.Exit(1)


def do_audit(
    request: "EvaluationRequest",
    examples: int,
    steps: int,
    queries: int,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], bool]:
    """Audit a model in the Linf and L2 balls of its recipe; return all findings, and if it passes.

    Every finding is given to ``say`` as soon as it is made.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``; also if the recipe
            has no such ball.
    """
    from morex.cli.load_model import open_for_evaluation, with_provenance, write_json
    from morex.cli.progress import progress
    from morex.core.threads import threads
    from morex.evaluation.masking_audit import audit_model
    from morex.perturbations import L2, Linf

    network, builder, identity = open_for_evaluation(request, say)
    balls = [b for b in builder.recipe.measured().values() if isinstance(b, Linf | L2)]
    count, data = min(examples, len(builder.test_data)), builder.data.name
    say(f"{count} test images of {data}, seed {request.seed}, on {request.device}")
    say("n: how many of them the model gets right; the others are left out; %: of these n images")
    with threads(builder.recipe.threads), progress("audit") as reached:
        made = audit_model(
            network,
            builder.test_data,
            balls,
            examples=examples,
            steps=steps,
            queries=queries,
            seed=request.seed,
            report=lambda finding: say(_text(finding)),
            progress=reached,
        )
    for line in _verdict(made):
        say(line)
    found = with_provenance(request, identity, made.content())
    if request.out:
        write_json(request.out, found)
        say(f"findings are in {request.out}")
    return found, made.passes


def _verdict(made: "Audit") -> Iterator[str]:
    """Yield what the points say together, and the accuracies that the attacks left."""
    counts = Counter(finding.verdict for finding in made.findings)
    points = len(made.findings)
    if counts["flag"]:
        yield f"{counts['flag']} of {points} points flagged: the gradients may be hidden"
    elif counts["too few to say"]:
        yield "too few images to say whether the gradients are hidden; use more with --examples"
    else:
        yield "no sign of masking, which does not mean that the model is robust:"
    yield from _accuracies(made.accuracies)


def _accuracies(accuracies: "Sequence[AuditedAccuracy]") -> Iterator[str]:
    width = max((len(a.ball or "no attack") for a in accuracies), default=0)
    for found in accuracies:
        bound = "at most" if found.ball else "       "
        line = f"  {found.ball or 'no attack':{width}}  accuracy {bound} {in_words(found.share)}"
        if found.verdict != "better than one answer":
            line += f": {found.verdict}; one answer to all images gets {percent(found.one_answer)}"
        yield line


def _text(finding: "Finding") -> str:
    where = f" in {finding.ball}" if finding.ball else ""
    name = f"{finding.point}. {finding.name}{where}, n {finding.n}"
    head = f"{_SIGNS[finding.verdict]}  {name}: {finding.reason}"
    return head + ("\n" + textwrap.indent(finding.measured, " " * 9) if finding.measured else "")
