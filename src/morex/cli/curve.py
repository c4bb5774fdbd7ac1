"""``morex curve``: accuracy against the strength of a perturbation."""

from collections.abc import Callable, Sequence
from typing import Any

from morex.cli.load_model import EvaluationRequest, open_for_evaluation, write_json
from morex.evaluation.evaluate import evaluate
from morex.evaluation.strength_curves import curve_suite
from morex.run.cores import threads


def curve(
    request: EvaluationRequest, name: str, factors: Sequence[float], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Attack a model at several strengths, say the accuracies, and return them.

    Balls are searched by PGD (20 steps, 2 restarts, steps that add up to ten radii), transforms are
    drawn once.

    Args:
        request: the model, and the recipe whose perturbations are meant.
        name: of the perturbation.
        factors: on its strength.
        say: is given lines of text.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``; also if there is no
            such perturbation, or a factor is negative.
    """
    network, workshop = open_for_evaluation(request, say)
    known = workshop.recipe.perturbations
    if name not in known:
        raise ValueError(f"no perturbation {name!r}; there are {', '.join(known)}")
    suite = curve_suite(known[name], factors)
    with threads(workshop.recipe.threads):
        outcomes = evaluate(
            network,
            workshop.test_data,
            suite,
            seed=request.seed,
            batch_size=workshop.recipe.evaluation.batch_size,
        )
    points = []
    for factor, row in zip(factors, suite, strict=True):
        share, perturbation = outcomes.accuracy(row.name), known[name].scaled(factor)
        low, high = (100 * end for end in share.interval)
        say(f"{perturbation!s:40} {100 * share.value:5.1f}%  {low:.1f} to {high:.1f}, n {share.n}")
        points.append(
            {
                "factor": factor,
                "perturbation": str(perturbation),
                "accuracy": share.value,
                "interval": share.interval,
                "n": share.n,
            }
        )
    if request.out:
        write_json(request, request.out, {"points": points})
    return points
