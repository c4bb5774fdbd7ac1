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
from morex.cli.output import say

if TYPE_CHECKING:
    from morex.artifacts.outcomes import Outcomes
    from morex.artifacts.statistics import BoolArray
    from morex.cli.load_model import EvaluationRequest

SuiteName = Annotated[
    str | None,
    typer.Option(
        metavar="SUITE",
        help="The attacks: table1, quick, autoattack, adaptive, or a YAML file; by default "
        "those of the recipe.",
    ),
]
Corrupted = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Test on the published corruptions in this folder (CIFAR-10-C), without attacks.",
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
) -> None:
    """Attack a model with a suite and print its accuracies.

    With `--out`, an evaluation that was stopped continues where it stopped. With `--corrupted`,
    the published files of CIFAR-10-C are used: one row per corruption and severity, on the same
    test images as every other row.

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
    print_evaluation(request, say)


def print_evaluation(request: "EvaluationRequest", say: Callable[[str], None]) -> "Outcomes":
    """Attack a model and return the outcomes; every row is given to ``say`` when it is done.

    With ``out`` it may be killed at any moment: the same call continues where it stopped.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``.
        DataError: if published corruptions do not belong to the test set.
    """
    from morex.cli.evaluation_work import do_work, evaluation_work, partial_rows
    from morex.cli.load_model import open_for_evaluation

    network, builder = open_for_evaluation(request, say)
    count, data = len(builder.test_data), builder.data.name
    say(f"{count} test images of {data}, seed {request.seed}, on {request.device}")
    work = evaluation_work(request, builder)
    kept = partial_rows(request, network, builder, say)

    def finished(row: str, right: "BoolArray") -> None:
        say(_line(row, right))

    outcomes = do_work(network, builder, work, request.seed, kept, finished)
    _summarise(request, outcomes, say)
    if kept:
        kept.remove()
        say(f"outcomes are in {request.out}")
    return outcomes


def _summarise(
    request: "EvaluationRequest", outcomes: "Outcomes", say: Callable[[str], None]
) -> None:
    """Print the means and the union of the rows; write everything if the request names a file."""
    from morex.cli.load_model import write_json

    means = _means_over_severities(outcomes) if request.corrupted else {}
    severities = ", ".join(map(str, request.severities))
    for name, share in means.items():
        say(f"{name:<18} {100 * share:5.1f}%  mean of severities {severities}")
    say(_line("union", outcomes.union()))
    say(f"{'mean':<14} {100 * outcomes.mean():5.1f}%")
    if request.out:
        outcomes.save(request.out)
        found: dict[str, Any] = {"rows": _figures(outcomes)}
        if request.corrupted:
            found |= {"corrupted": str(request.corrupted), "means": means}
        write_json(request, request.out.with_suffix(".json"), found)


def _means_over_severities(outcomes: "Outcomes") -> dict[str, float]:
    """Return the mean accuracy of each corruption, from rows named ``corruption-severity``."""
    rows_of: dict[str, list[str]] = {}
    for row in outcomes.rows:
        rows_of.setdefault(row.rpartition("-")[0], []).append(row)
    return {name: outcomes.mean(rows) for name, rows in rows_of.items()}


def _figures(outcomes: "Outcomes") -> dict[str, Any]:
    """Return the accuracy of every row and of the union, with interval and n."""
    rows = {**outcomes.right, "union": outcomes.union()}
    return {name: _figure(right) for name, right in rows.items()}


def _figure(right: "BoolArray") -> dict[str, Any]:
    from morex.artifacts.statistics import Proportion

    return Proportion.of(right).content()


def _line(name: str, right: "BoolArray") -> str:
    figure = _figure(right)
    low, high = (100 * end for end in figure["interval"])
    accuracy = f"{100 * figure['accuracy']:5.1f}%"
    return f"{name:<14} {accuracy}  95% interval {low:.1f} to {high:.1f}, n {figure['n']}"
