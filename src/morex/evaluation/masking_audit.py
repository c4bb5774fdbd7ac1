"""Is a model robust, or does it only hide its gradients? Seven points, each measured.

The checklist follows Carlini et al. ("On evaluating adversarial robustness", 2019) and the warnings
of AutoAttack (Croce & Hein 2020). Robust accuracy means nothing while gradients are masked. So
every point compares something that masking would change: more effort, larger balls, attacks without
gradients, other losses, attacks on parts of the model.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from morex.artifacts.findings import POINTS, Audit, AuditedAccuracy, Finding
from morex.artifacts.statistics import Proportion
from morex.attacks import frozen, is_right
from morex.core.precision import exact_settings
from morex.core.threads import threads_for
from morex.data import ImageSet
from morex.data.given import Given, images_for
from morex.evaluation.audit_balls import (
    Searched,
    decisions,
    effort,
    losses,
    parts,
    per_example,
    sizes,
)
from morex.evaluation.audit_basis import Audited, Limits
from morex.evaluation.audit_outputs import outputs
from morex.evaluation.workload import Report, Workload, most_work
from morex.perturbations import L2, Ball, Linf


def audit_model(
    model: nn.Module,
    data: Given,
    balls: Sequence[Ball],
    *,
    examples: int = 100,
    steps: int = 40,
    queries: int = 400,
    seed: int = 0,
    limits: Limits | None = None,
    report: Callable[[Finding], None] | None = None,
    progress: Report | None = None,
) -> Audit:
    """Go through the checklist on images that the model classifies correctly.

    Args:
        model: images in [0, 1] to logits; an ``ImageSet`` must be on its device.
        data: test images in any form that ``evaluate`` takes; the first ``examples`` are used.
        balls: where the model is meant to be robust; Linf and L2.
        examples: how many images.
        steps: of PGD. Point 1 doubles them; each search of steering and transfer takes half.
        queries: of attacks without gradients, per example.
        seed: of all attacks.
        limits: what counts as a sign of masking; ``Limits()`` by default.
        report: called with every finding as soon as it is made.
        progress: called with the share of the work that is done, and what is being done.

    Returns:
        One finding per point and ball, in the order of the points, and one for point 5, which needs
        no ball; the accuracy without an attack, and the lowest that was found in each ball.

    Raises:
        ValueError: if there is no ball, one has another norm, or the model gets no image right.
    """
    if not balls or not all(isinstance(ball, Linf | L2) for ball in balls):
        raise ValueError(f"an audit needs Linf or L2 balls, got {balls}")
    data = images_for(model, data)
    images, findings = data.first(examples), []
    batch = (examples, *data.shape)
    with threads_for(model, batch, data.device), exact_settings(data.device), frozen(model):
        x, y = _right_images(model, images)
        audited = Audited(model, x, y, seed, limits or Limits())
        load, searched = _searches(audited, balls, steps, queries, len(data.classes))
        with load.counting(model, progress or _ignore):
            for finding in _findings(audited, searched):
                findings.append(finding)
                if report:
                    report(finding)
    accuracies = _accuracies(images.labels, len(x), searched)
    return Audit(findings=tuple(findings), accuracies=tuple(accuracies))


def _right_images(model: nn.Module, images: ImageSet) -> tuple[Tensor, Tensor]:
    x, y = images.pixels(slice(None)), images.labels
    right = is_right(model, x, y)
    if not right.any():
        with torch.no_grad():
            odd = int((~model(x).isfinite().all(1)).sum())
        raise ValueError(
            f"the model gets none of the {len(images)} images right: there is nothing to audit"
            + (f"; {odd} of its answers are not finite" if odd else "")
        )
    return x[right], y[right]


def _searches(
    audited: Audited, balls: Sequence[Ball], steps: int, queries: int, classes: int
) -> tuple[Workload, list[Searched]]:
    """Return the searches in all balls, and the work that they are."""

    def finished(ball: Ball, name: str) -> None:
        load.reach(f"{ball} {name}")

    searched = [Searched(audited, ball, steps, queries, partial(finished, ball)) for ball in balls]
    load = Workload(
        {
            f"{one.ball} {name}": most_work(attack, audited.model, len(audited.x), classes)
            for point in POINTS
            for one in searched
            for name, attack in one.attacks.get(point, {}).items()
        }
    )
    return load, searched


def _findings(audited: Audited, searched: Sequence[Searched]) -> Iterator[Finding]:
    """Yield the findings in the order of the points."""
    for point in (effort, sizes, per_example, decisions):
        yield from map(point, searched)
    yield outputs(audited)
    for point in (losses, parts):
        yield from map(point, searched)


def _accuracies(
    labels: Tensor, right: int, searched: Sequence[Searched]
) -> Iterator[AuditedAccuracy]:
    """Yield the accuracy without an attack, and what the attacks in each ball left of it."""
    n = len(labels)
    one_answer = int(labels.bincount().max()) / n
    yield AuditedAccuracy.of(None, Proportion(right, n), one_answer)
    for one in searched:
        left = Proportion(int(one.left().sum()), n)
        yield AuditedAccuracy.of(str(one.ball), left, one_answer)


def _ignore(share: float, part: str) -> None:
    """Report nothing."""
