"""``morex curve``: accuracy against the strength of a perturbation."""

from collections.abc import Callable, Sequence
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
    read_numbers,
    read_request,
)
from morex.cli.output import AsJson, in_words, lines_beside, print_json
from morex.core.near import did_you_mean
from morex.core.units import listed

if TYPE_CHECKING:
    from morex.artifacts.statistics import BoolArray
    from morex.cli.load_model import EvaluationRequest
    from morex.perturbations import Perturbation

PerturbationName = Annotated[
    str,
    typer.Argument(
        metavar="PERTURBATION", help="The name of a perturbation of the model's recipe."
    ),
]
Factors = Annotated[
    str,
    typer.Option(metavar="F,F,...", help="The factors to multiply its strength by."),
]
PointsFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the points to this JSON file.")
]


def curve(
    model: AnyModel,
    perturbation: PerturbationName,
    factors: Factors = "0,0.25,0.5,0.75,1,1.25,1.5,2",
    recipe: OtherRecipe = None,
    data: DataFolder = None,
    examples: Examples = None,
    seed: Seed = 0,
    device: Device = None,
    input_range: InputRange = "0..1",
    mean: Mean = "",
    std: Std = "",
    out: PointsFile = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Show how a model's accuracy falls as a perturbation grows stronger.

    Balls are attacked by PGD with 20 steps and 2 restarts; weather and other transforms are drawn
    once per image.

    Example: `morex curve runs/digits/models/more-all linf --examples 100`
    """
    pixels: dict[str, Any] = {"input_range": input_range, "mean": mean, "std": std}
    request = read_request(
        model, recipe, data, examples, seed, device, out, trust_code=trust_code, **pixels
    )
    strengths = read_numbers("--factors", factors)
    found = measure_curve(request, perturbation, strengths, lines_beside(as_json))
    if as_json:
        print_json(found)


def measure_curve(
    request: "EvaluationRequest",
    name: str,
    factors: Sequence[float],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Attack a model at several strengths of a perturbation, and return the points of its curve.

    Every point is given to ``say`` as a line of text when it is done.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``; also if there is no
            such perturbation, no factor, or a factor is negative.
    """
    from morex.artifacts.statistics import Proportion
    from morex.cli.evaluation_work import Work, do_work
    from morex.cli.load_model import open_for_evaluation, with_provenance, write_json
    from morex.evaluation.strength_curves import curve_suite

    network, builder, identity = open_for_evaluation(request, say)
    known = builder.recipe.perturbations
    if name not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"no perturbation {name!r}; {near}the recipe has {', '.join(known)}")
    if not factors:
        raise ValueError("a curve needs at least one factor, got none")
    factors = _possible(known[name], factors, say)
    suite = curve_suite(known[name], factors)
    scaled = [str(known[name].scaled(factor)) for factor in factors]
    strengths = dict(zip([row.name for row in suite], scaled, strict=True))
    width = max(map(len, scaled))

    def finished(row: str, right: "BoolArray") -> None:
        say(f"{strengths[row]:{width}}  {in_words(Proportion.of(right))}")

    work = [Work(suite, lambda: builder.test_data)]
    outcomes = do_work(network, builder, work, request.seed, None, finished, title="curve")
    points = [
        {"factor": factor, "perturbation": strengths[row], **outcomes.accuracy(row).content()}
        for factor, row in zip(factors, outcomes.rows, strict=True)
    ]
    found = with_provenance(request, identity, {"points": points})
    if request.out:
        write_json(request.out, found)
    return found


def _possible(
    perturbation: "Perturbation", factors: Sequence[float], say: Callable[[str], None]
) -> list[float]:
    """Return the factors at which a perturbation is valid and new, and say which are not."""
    from morex.evaluation.strength_curves import possible

    if any(factor < 0 for factor in factors):
        raise ValueError(f"factors of a strength are at least 0, got {min(factors):g}")
    found = {0.0, *possible(perturbation, factors)}
    if left_out := [f"{factor:g}" for factor in factors if factor not in found]:
        say(
            f"note: no point at {listed(left_out)}: {perturbation} is the same there as before, or "
            "cannot be as strong"
        )
    if {*factors}.isdisjoint(found):
        raise ValueError(f"{perturbation} cannot be as strong as any of these factors")
    return [factor for factor in factors if factor in found]
