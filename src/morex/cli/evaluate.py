"""``morex evaluate``: attack a model by itself, or try it on published corruptions."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray, Proportion
from morex.attacks import WorstOfDraws
from morex.cli.load_model import EvaluationRequest, open_for_evaluation, write_json
from morex.data import ImageSet, PublishedCorruptions
from morex.evaluation.evaluate import evaluate
from morex.evaluation.suite import Row, Suite
from morex.perturbations import Clean
from morex.recipe.components import described
from morex.run import Workshop
from morex.run.cores import threads
from morex.run.partial_results import PartialRows


def evaluate_saved(request: EvaluationRequest, say: Callable[[str], None]) -> Outcomes:
    """Attack a model, say every row as it is done, and return the outcomes.

    With ``out`` it may be killed at any moment: the same call goes on where it was.

    Raises:
        ModelError, ForeignModelError, ValueError: see ``open_for_evaluation``.
    """
    out, device, seed = request.out, request.device, request.seed
    network, workshop = open_for_evaluation(request, say)
    images = workshop.test_data
    say(f"{len(images)} test images of {workshop.data.name}, seed {seed}, on {device}")

    work = _work(request, workshop)
    counts = {row.name: row.count(len(images)) for suite, _ in work for row in suite}
    rows = None
    if out:
        rows = PartialRows(_partial(out), 30.0, say, _settings(request, network, workshop))

    def keep(name: str, right: BoolArray) -> None:
        whole = len(right) == counts[name]
        if rows:
            rows.keep(name, right, whole=whole)
        if whole:
            say(_line(name, Proportion.of(right)))

    right: dict[str, BoolArray] = {}
    with threads(workshop.recipe.threads):
        for suite, read in work:
            found = evaluate(
                network,
                read(),
                suite,
                seed=seed,
                batch_size=workshop.recipe.evaluation.batch_size,
                done=dict(rows.done) if rows else None,
                keep=keep,
            )
            right |= found.right
    outcomes = Outcomes(right)
    _tell(request, outcomes, say)
    if rows:
        rows.remove()
        say(f"outcomes are in {out}")
    return outcomes


def _tell(request: EvaluationRequest, outcomes: Outcomes, say: Callable[[str], None]) -> None:
    """Say what the rows come to together, and write all of it if a file was named."""
    of_corruption: dict[str, list[str]] = {}
    for row in outcomes.rows if request.corrupted else ():
        of_corruption.setdefault(row.rpartition("-")[0], []).append(row)
    means = {name: outcomes.mean(rows) for name, rows in of_corruption.items()}
    severities = ", ".join(map(str, request.severities))
    for name, share in means.items():
        say(f"{name:<18} {100 * share:5.1f}%  mean of severities {severities}")
    say(_line("union", Proportion.of(outcomes.union())))
    say(f"{'mean':<14} {100 * outcomes.mean():5.1f}%")
    if request.out:
        outcomes.save(request.out)
        found: dict[str, Any] = {"rows": _figures(outcomes)}
        if request.corrupted:
            found |= {"corrupted": str(request.corrupted), "means": means}
        write_json(request, request.out.with_suffix(".json"), found)


def _work(
    request: EvaluationRequest, workshop: Workshop
) -> list[tuple[Suite, Callable[[], ImageSet]]]:
    """Return which rows go over which images; these are read when it is their turn.

    Published corruptions are rows without an attack, one per corruption and severity, over the
    same test images in the same order as any other row.
    """
    if request.corrupted is None:
        return [(workshop.suite(), lambda: workshop.test_data)]
    if request.suite:
        raise ValueError("--corrupted takes the place of a suite: leave out one of the two")
    published = PublishedCorruptions.open(request.corrupted, workshop.data.test)

    return [
        (
            (Row(f"{name}-{severity}", WorstOfDraws(Clean())),),
            partial(published.images, name, severity, workshop.test_rows, workshop.device),
        )
        for name in published.files
        for severity in request.severities
    ]


def _settings(request: EvaluationRequest, network: nn.Module, workshop: Workshop) -> str:
    """Return a digest of all that decides the outcomes."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    evaluation = workshop.recipe.evaluation.model_dump(mode="json")
    over = {name: described(p) for name, p in workshop.recipe.perturbations.items()}
    data = workshop.test_data.fingerprint()
    facts: list[Any] = [request.model, request.seed, evaluation, over, data]
    if request.corrupted:
        files = sorted((path, path.stat()) for path in request.corrupted.glob("*.npy"))
        facts += [(str(path), found.st_size, found.st_mtime_ns) for path, found in files]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _figures(outcomes: Outcomes) -> dict[str, Any]:
    """Return every row's accuracy and that of the union, with interval and n."""
    shares = {row: outcomes.accuracy(row) for row in outcomes.rows}
    shares["union"] = Proportion.of(outcomes.union())
    return {
        row: {"accuracy": share.value, "interval": share.interval, "n": share.n}
        for row, share in shares.items()
    }


def _line(name: str, share: Proportion) -> str:
    low, high = (100 * end for end in share.interval)
    return (
        f"{name:<14} {100 * share.value:5.1f}%  95% interval {low:.1f} to {high:.1f}, n {share.n}"
    )
