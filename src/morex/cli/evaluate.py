"""``morex evaluate``: attack a model, or test it on published corruptions."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from morex.cli.options import (
    AnyModel,
    DataFolder,
    Device,
    Examples,
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
    from morex.artifacts.outcomes import Outcomes
    from morex.artifacts.statistics import BoolArray
    from morex.cli.load_model import EvaluationRequest
    from morex.run import Builder

SuiteName = Annotated[
    str | None,
    typer.Option(
        metavar="SUITE",
        help="The attacks: table1, quick, autoattack, adaptive, adaptive_fast, union, "
        "union_adaptive, robustbench_linf, robustbench_l2, unforeseen, worst_weather, or a YAML "
        "file; by default those of the recipe.",
    ),
]
Corrupted = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Test on the published corruptions in this folder (CIFAR-10-C), or on `generated` "
        "ones, without attacks.",
    ),
]
Severities = Annotated[
    list[int] | None,
    typer.Option(
        min=1,
        max=5,
        metavar="S",
        help="Use only this severity of the corruptions, from 1 to 5; may be repeated.",
    ),
]
OutcomesFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write the outcomes to this .npz file, and the figures, settings and versions to "
        "a .json file beside it.",
    ),
]


def evaluate(
    model: AnyModel,
    recipe: OtherRecipe = None,
    suite: SuiteName = None,
    corrupted: Corrupted = None,
    severity: Severities = None,
    data: DataFolder = None,
    examples: Examples = None,
    seed: Seed = 0,
    input_range: InputRange = "0..1",
    mean: Mean = "",
    std: Std = "",
    device: Device = None,
    out: OutcomesFile = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Attack a model with a suite and print its accuracies.

    With `--out`, an evaluation that was stopped continues where it stopped. With `--corrupted`,
    the published files of CIFAR-10-C are used: one row per corruption and severity, on the same
    test images as every other row. `--corrupted generated` makes such images for any data. The
    figures then include mCE, the mean error over 15 corruptions and five severities, as CIFAR-10-C
    reports it: not relative to AlexNet. Fog and snow are Hendrycks', not those of Table 1.

    Example: `morex evaluate runs/digits/models/more-all --suite adaptive --examples 100`
    """
    if out and out.suffix != ".npz":
        raise ValueError(
            f"--out {out}: expected the name of an .npz file; the figures go to a .json file "
            "beside it"
        )
    pixels = {"input_range": input_range, "mean": mean, "std": std}
    rows: dict[str, Any] = {"suite": suite, "corrupted": corrupted}
    if severity:
        rows["severities"] = tuple(dict.fromkeys(severity))
    request = read_request(
        model, recipe, data, examples, seed, device, out, trust_code=trust_code, **pixels, **rows
    )
    found = do_evaluation(request, lines_beside(as_json))
    if as_json:
        print_json(found)


def do_evaluation(request: "EvaluationRequest", say: Callable[[str], None]) -> dict[str, Any]:
    """Attack a model and return its figures; every row is given to ``say`` when it is done.

    With ``out`` it may be killed at any moment: the same call continues where it stopped.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``.
        DataError: if published corruptions do not belong to the test set.
    """
    from morex.artifacts.statistics import Proportion
    from morex.cli.evaluation_work import do_work, evaluation_work, partial_rows
    from morex.cli.load_model import open_for_evaluation, with_provenance, write_json
    from morex.report.caption import strengths_of

    network, builder, identity = open_for_evaluation(request, say)
    count, data = len(builder.test_data), builder.data.name
    say(f"{count} test images of {data}, seed {request.seed}, on {request.device}")
    work = evaluation_work(request, builder)
    strengths = {} if request.corrupted else _strengths(builder)
    if text := strengths_of(strengths.values()):
        say(f"strengths: {text}")
    kept = partial_rows(request, identity, builder, say)
    width = max(len(row.name) for part in work for row in part.suite)

    def finished(row: str, right: "BoolArray") -> None:
        say(f"{row:{width}}  {in_words(Proportion.of(right))}")

    outcomes = do_work(network, builder, work, request.seed, kept, finished)
    figures = _figures(request, outcomes) | ({"strengths": strengths} if strengths else {})
    figures = with_provenance(request, identity, figures)
    _summarise(request, outcomes, say)
    if request.out:
        outcomes.save(request.out)
        write_json(request.out.with_suffix(".json"), figures)
        say(f"outcomes are in {request.out}")
    if kept:
        kept.remove()
    return figures


def _strengths(builder: "Builder") -> dict[str, Any]:
    """Return the perturbation of every row, with its strength, as recipes write it."""
    from morex.recipe.components import described

    attacks = builder.attacks()
    return {n: described(attacks.perturbations[r.perturbation]) for n, r in attacks.rows.items()}


def _summarise(
    request: "EvaluationRequest", outcomes: "Outcomes", say: Callable[[str], None]
) -> None:
    """Give the means and the union of the rows, and the notes, to ``say``."""
    from morex.artifacts.notes import sentences
    from morex.artifacts.statistics import Proportion

    width, severities = max(map(len, outcomes.rows)), ", ".join(map(str, request.severities))
    corruptions = _of_corruptions(outcomes) if request.corrupted else {"means": {}}
    for name, share in corruptions["means"].items():
        say(f"{name:{width}}  {percent(share):>6}  mean of severities {severities}")
    if "mCE" in corruptions:
        error = percent(corruptions["mCE"])
        say(f"{'mCE':{width}}  {error:>6}  mean error, not relative to AlexNet")
    say(f"{'union':{width}}  {in_words(Proportion.of(outcomes.union()))}")
    say(f"{'mean':{width}}  {percent(outcomes.mean()):>6}  of the rows above")
    for sentence in sentences(outcomes.notes):
        say(f"note: {sentence}")


def _of_corruptions(outcomes: "Outcomes") -> dict[str, Any]:
    """Return the mean accuracy of each corruption and, if all were measured, mCE."""
    from morex.artifacts.corruption_errors import (
        is_complete,
        mean_corruption_error,
        means_over_severities,
    )

    means = means_over_severities(outcomes)
    error = {"mCE": mean_corruption_error(means)} if is_complete(outcomes) else {}
    return {"means": means, **error}


def _figures(request: "EvaluationRequest", outcomes: "Outcomes") -> dict[str, Any]:
    """Return the accuracy of every row and of the union, with interval and n, means and notes."""
    from morex.artifacts.notes import content
    from morex.artifacts.statistics import Proportion

    rows = {**outcomes.right, "union": outcomes.union()}
    figures: dict[str, Any] = {
        "rows": {name: Proportion.of(right).content() for name, right in rows.items()},
        "mean": outcomes.mean(),
    }
    if outcomes.notes:
        figures["notes"] = content(outcomes.notes)
    if request.corrupted:
        figures |= {"corrupted": str(request.corrupted), **_of_corruptions(outcomes)}
    return figures
