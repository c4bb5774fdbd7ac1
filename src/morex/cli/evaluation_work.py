"""The work of ``morex evaluate``: its rows, their images, and the rows that are already done."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from morex.artifacts.corruption_errors import BENCHMARK
from morex.artifacts.notes import NoteBook
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.attacks import WorstOfDraws
from morex.cli.load_model import EvaluationRequest
from morex.cli.progress import progress
from morex.core.files import digest_of
from morex.core.stopping import kept_first
from morex.core.threads import threads
from morex.data import ImageSet, PublishedCorruptions
from morex.evaluation.evaluate import evaluate
from morex.evaluation.suite import Row, Suite
from morex.evaluation.workload import Workload, most_work
from morex.perturbations import CORRUPTIONS, Clean
from morex.recipe.components import identified
from morex.recipe.keys import key_part
from morex.run import Builder
from morex.run.partial_results import PartialRows


@dataclass(frozen=True)
class Work:
    """Rows that are evaluated on the same images; ``read`` returns the images."""

    suite: Suite
    read: Callable[[], ImageSet]


def evaluation_work(request: EvaluationRequest, builder: Builder) -> list[Work]:
    """Return the rows of the suite, or one row per corruption and severity.

    The rows of published corruptions have no attack. Their test images are those of the suite, in
    the same order. The rows of generated corruptions draw on these images themselves.

    Raises:
        ValueError: if the request has both a suite and corruptions.
        DataError: if the corruptions do not belong to the test set.
    """
    if request.corrupted is None:
        return [Work(builder.suite(), lambda: builder.test_data)]
    if request.suite:
        raise ValueError("--corrupted takes the place of a suite: leave out one of the two")
    if request.generates:
        return [Work(_generated(request.severities), lambda: builder.test_data)]
    published = PublishedCorruptions.open(request.corrupted, builder.data.test)
    rows, device = builder.test_rows, builder.device
    return [
        Work(
            (Row(f"{name}-{severity}", WorstOfDraws(Clean())),),
            partial(published.images, name, severity, rows, device),
        )
        for name in published.files
        for severity in request.severities
    ]


def _generated(severities: Sequence[int]) -> Suite:
    """Return one draw of each of the 15 corruptions at each severity."""
    kinds = {kind.name: kind for kind in CORRUPTIONS}
    return tuple(
        Row(f"{name}-{severity}", WorstOfDraws(kinds[name](severity)))
        for name in BENCHMARK.values()
        for severity in severities
    )


def partial_rows(
    request: EvaluationRequest,
    identity: Mapping[str, Any],
    builder: Builder,
    notice: Callable[[str], None],
) -> PartialRows | None:
    """Return the rows that an earlier, stopped evaluation left beside ``out``; None without it."""
    if request.out is None:
        return None
    path = request.out.with_name(request.out.name + ".partial")
    return PartialRows(path, 30.0, notice, _settings_digest(request, identity, builder))


def do_work(
    network: nn.Module,
    builder: Builder,
    work: Sequence[Work],
    seed: int,
    kept: PartialRows | None,
    finished: Callable[[str, BoolArray], None],
    *,
    title: str = "evaluate",
) -> Outcomes:
    """Evaluate a network on all rows, showing the progress, and return the outcomes.

    Args:
        network: the model, on the device of the builder.
        builder: decides threads and batch size.
        work: the rows and their images.
        seed: seed of the attacks.
        kept: the rows that are already done; those done now are added. None to keep nothing.
        finished: called with the name and the outcomes of every row that is done now.
        title: the name of the command, beside the progress.
    """
    load = _workload(network, builder, work, kept)
    counts = _counts(builder, work)

    def keep(name: str, right: BoolArray) -> None:
        whole = len(right) == counts[name]
        load.reach(name, len(right) / counts[name])
        if kept:
            kept.keep(name, right, whole=whole)
        if whole:
            finished(name, right)

    parts = list[Outcomes]()
    notes = kept.notes if kept else NoteBook()
    settings = asdict(replace(builder.settings, seed=seed))
    with (
        threads(builder.recipe.threads),
        kept_first() if kept else nullcontext(),
        progress(title, load.share) as report,
        load.counting(network, report),
    ):
        for part in work:
            done = dict(kept.done) if kept else None
            found = evaluate(
                network, part.read(), part.suite, done=done, keep=keep, notes=notes, **settings
            )
            parts.append(found)
    return Outcomes.joined(parts)


def _counts(builder: Builder, work: Sequence[Work]) -> dict[str, int]:
    """Return how many images each row takes."""
    images = len(builder.test_data)
    return {row.name: row.count(images) for part in work for row in part.suite}


def _workload(
    network: nn.Module, builder: Builder, work: Sequence[Work], kept: PartialRows | None
) -> Workload:
    """Return the most work that each row is, without what was done before."""
    counts, classes = _counts(builder, work), len(builder.test_data.classes)
    load = Workload(
        {
            row.name: most_work(row.attack, network, counts[row.name], classes)
            for part in work
            for row in part.suite
        }
    )
    for name, right in (kept.done if kept else {}).items():
        if name in counts:
            load.reach(name, len(right) / counts[name])
    return load


def _settings_digest(
    request: EvaluationRequest, identity: Mapping[str, Any], builder: Builder
) -> str:
    """Return a digest of everything that decides the outcomes."""
    evaluation = key_part(builder.recipe.evaluation)
    evaluation["batch_size"] = builder.settings.batch_size
    if "search_precision" in evaluation:
        evaluation["search_precision"] = builder.settings.search_precision
    over = {name: identified(p) for name, p in builder.recipe.perturbations.items()}
    facts = [request.model, dict(identity), request.seed, evaluation, over]
    facts.append(builder.test_data.fingerprint())
    if request.generates:
        facts.append(["generated", *request.severities])
    elif request.corrupted:
        facts += [(path.name, digest_of(path)) for path in sorted(request.corrupted.glob("*.npy"))]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
