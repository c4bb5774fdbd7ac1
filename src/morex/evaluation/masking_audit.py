"""Is a model robust, or does it only hide its gradients? Seven points, each measured.

The checklist follows Carlini et al. ("On evaluating adversarial robustness", 2019) and the warnings
of AutoAttack (Croce & Hein 2020). Robust accuracy means nothing while gradients are masked. So
every point compares something that masking would change: more effort, larger balls, attacks without
gradients, other losses, attacks on parts of the model.
"""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from morex.artifacts.findings import Finding
from morex.attacks import frozen, is_right
from morex.core.precision import exact_settings
from morex.core.threads import threads_for
from morex.data import ImageSet
from morex.evaluation.audit_balls import findings_in
from morex.evaluation.audit_basis import Audited, Limits
from morex.evaluation.audit_outputs import outputs
from morex.perturbations import L2, Ball, Linf


def audit_model(
    model: nn.Module,
    data: ImageSet,
    balls: Sequence[Ball],
    *,
    examples: int = 100,
    steps: int = 20,
    queries: int = 400,
    seed: int = 0,
    limits: Limits | None = None,
    report: Callable[[Finding], None] | None = None,
) -> list[Finding]:
    """Go through the checklist on images that the model classifies correctly.

    Args:
        model: images in [0, 1] to logits, on the device of the data.
        data: test images; the first ``examples`` are used.
        balls: where the model is meant to be robust; Linf and L2.
        examples: how many images.
        steps: of PGD.
        queries: of attacks without gradients, per example.
        seed: of all attacks.
        limits: what counts as a sign of masking; ``Limits()`` by default.
        report: called with every finding as soon as it is made.

    Returns:
        One finding per point and ball, and one for point 5, which needs no ball.

    Raises:
        ValueError: if there is no ball, one has another norm, or the model gets no image right.
    """
    if not balls or not all(isinstance(ball, Linf | L2) for ball in balls):
        raise ValueError(f"an audit needs Linf or L2 balls, got {balls}")
    findings = []
    batch = (examples, *data.shape)
    with threads_for(model, batch, data.device), exact_settings(data.device), frozen(model):
        x, y = _right_images(model, data, examples)
        audited = Audited(model, x, y, seed, limits or Limits())
        for finding in _findings(audited, balls, steps, queries):
            findings.append(finding)
            if report:
                report(finding)
    return findings


def _right_images(model: nn.Module, data: ImageSet, examples: int) -> tuple[Tensor, Tensor]:
    images = data.first(examples)
    x, y = images.pixels(slice(None)), images.labels
    right = is_right(model, x, y)
    if not right.any():
        raise ValueError(
            f"the model gets none of the {len(images)} images right: there is nothing to audit"
        )
    return x[right], y[right]


def _findings(
    audited: Audited, balls: Sequence[Ball], steps: int, queries: int
) -> Iterator[Finding]:
    for ball in balls:
        yield from findings_in(audited, ball, steps, queries)
    yield outputs(audited)
