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
    OtherRecipe,
    Seed,
    TrustCode,
    read_numbers,
    read_request,
)
from morex.cli.output import say

if TYPE_CHECKING:
    from morex.artifacts.statistics import Proportion
    from morex.cli.load_model import EvaluationRequest

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
    out: PointsFile = None,
    trust_code: TrustCode = False,
) -> None:
    """Show how a model's accuracy falls as a perturbation grows stronger.

    Balls are attacked by PGD with 20 steps and 2 restarts; weather and other transforms are drawn
    once per image.

    Example: `morex curve runs/digits/models/more-all linf --examples 100`
    """
    request = read_request(model, recipe, data, examples, seed, device, out, trust_code=trust_code)
    print_curve(request, perturbation, read_numbers("--factors", factors), say)


def print_curve(
    request: "EvaluationRequest",
    name: str,
    factors: Sequence[float],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Attack a model at several strengths of a perturbation, and return the points of its curve.

    Balls are searched by PGD (20 steps that add up to ten radii, 2 restarts); transforms are drawn
    once.

    Every point is given to ``say`` as a line of text.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``; also if there is no
            such perturbation, or a factor is negative.
    """
    from morex.cli.load_model import open_for_evaluation, write_json
    from morex.core.threads import threads
    from morex.evaluation.evaluate import evaluate
    from morex.evaluation.strength_curves import curve_suite

    network, builder = open_for_evaluation(request, say)
    known = builder.recipe.perturbations
    if name not in known:
        raise ValueError(f"no perturbation {name!r}; the recipe has {', '.join(known)}")
    suite = curve_suite(known[name], factors)
    size = builder.recipe.evaluation.batch_size
    with threads(builder.recipe.threads):
        outcomes = evaluate(network, builder.test_data, suite, seed=request.seed, batch_size=size)
    points = [
        _point(factor, str(known[name].scaled(factor)), outcomes.accuracy(row.name))
        for factor, row in zip(factors, suite, strict=True)
    ]
    for point in points:
        say(_line(point))
    if request.out:
        write_json(request, request.out, {"points": points})
    return points


def _point(factor: float, perturbation: str, share: "Proportion") -> dict[str, Any]:
    return {"factor": factor, "perturbation": perturbation, **share.content()}


def _line(point: dict[str, Any]) -> str:
    low, high = (100 * end for end in point["interval"])
    accuracy = f"{100 * point['accuracy']:5.1f}%"
    return f"{point['perturbation']:40} {accuracy}  {low:.1f} to {high:.1f}, n {point['n']}"
