"""``morex evaluate``: attack a model by itself."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morex.cli.opening import Request, opened, write_json
from morex.evaluation import evaluate
from morex.outcomes import BoolArray, Outcomes, Proportion
from morex.recipe.pieces import described
from morex.run import Workshop
from morex.run.cores import threads
from morex.run.partial import PartialRows


def evaluate_saved(request: Request, say: Callable[[str], None]) -> Outcomes:
    """Attack a model, say every row as it is done, and return the outcomes.

    With ``out`` it may be killed at any moment: the same call goes on where it was.

    Raises:
        ModelError, ForeignModelError, ValueError: as ``opened``.
    """
    out, device, seed = request.out, request.device, request.seed
    network, workshop = opened(request, say)
    images = workshop.test_data
    say(f"{len(images)} test images of {workshop.data.name}, seed {seed}, on {device}")

    counts = {row.name: row.count(len(images)) for row in workshop.suite()}
    rows = None
    if out:
        rows = PartialRows(_partial(out), 30.0, say, _settings(request, network, workshop))

    def keep(name: str, right: BoolArray) -> None:
        whole = len(right) == counts[name]
        if rows:
            rows.keep(name, right, whole=whole)
        if whole:
            say(_line(name, Proportion.of(right)))

    with threads(workshop.recipe.threads):
        outcomes = evaluate(
            network,
            images,
            workshop.suite(),
            seed=seed,
            batch_size=workshop.recipe.evaluation.batch_size,
            done=dict(rows.done) if rows else None,
            keep=keep,
        )
    say(_line("union", Proportion.of(outcomes.union())))
    say(f"{'mean':<14} {100 * outcomes.mean():5.1f}%")
    if out:
        outcomes.save(out)
        write_json(request, out.with_suffix(".json"), {"rows": _figures(outcomes)})
    if rows:
        rows.remove()
        say(f"outcomes are in {out}")
    return outcomes


def _settings(request: Request, network: nn.Module, workshop: Workshop) -> str:
    """Return a digest of all that decides the outcomes."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    evaluation = workshop.recipe.evaluation.model_dump(mode="json")
    over = {name: described(p) for name, p in workshop.recipe.perturbations.items()}
    facts = [request.model, request.seed, evaluation, over, workshop.test_data.fingerprint()]
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
