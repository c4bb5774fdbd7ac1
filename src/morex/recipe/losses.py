"""Which losses of a network go with what else a recipe says, and what chooses its weights."""

from typing import TYPE_CHECKING

from morex.perturbations import Ball, Flow, Transform
from morex.recipe.components import PERTURBATIONS
from morex.recipe.kind import Setting

if TYPE_CHECKING:
    from morex.recipe.models import NetworkModel, TrainedModel


def check_loss(model: "NetworkModel") -> None:
    """Raise ``ValueError`` unless a network has one loss, and what that loss needs."""
    if model.kind == "distilled" and not model.teacher:
        raise ValueError("a distilled network needs a teacher, the name of another model")
    if model.kind == "network" and model.teacher:
        raise ValueError(f"a network has no teacher; write kind: distilled, got {model.kind}")
    if model.teacher and model.training.gradient_projection:
        raise ValueError(
            "training.gradient_projection joins a training on labels; a distilled network has a "
            "teacher, so set it to 0"
        )
    if model.trades and model.logit_pairing:
        raise ValueError("trades and logit_pairing are two losses; remove one of them")
    if model.logit_pairing:
        _check_pairing(model)
    if model.trades:
        _check_trades(model)


def _check_pairing(model: "NetworkModel") -> None:
    if model.objective != "max" or len(model.against) != 2:
        raise ValueError(
            "logit_pairing needs the objective max against two perturbations, got "
            f"{model.objective} against {', '.join(model.against)}"
        )
    if model.teacher:
        raise ValueError("logit_pairing is for labels; a distilled network has a teacher")


def _check_trades(model: "NetworkModel") -> None:
    if model.teacher:
        raise ValueError("trades is for labels; a distilled network has a teacher")
    if model.inner.single_step:
        raise ValueError("trades searches with PGD; remove inner.single_step")
    if model.inner.restarts > 1:
        raise ValueError(
            f"trades needs a single restart, got inner.restarts: {model.inner.restarts}"
        )


def judged_by(model: "TrainedModel", setting: Setting) -> dict[str, str]:
    """Return what chooses the weights, where an older version of morex chose otherwise.

    A training with PGD of one step chose by that step, and one with single steps in parameters by
    PGD-10.
    """
    gate = getattr(model, "robust_gate", None)
    if 1 in (model.inner.steps, gate and gate.inner.steps):
        return {"judged by": "pgd-10"}
    kinds = [setting.perturbations[name].get("kind") for name in model.against]
    in_parameters = any(not issubclass(PERTURBATIONS.get(k, Flow), Ball | Transform) for k in kinds)
    return {"judged by": "inner"} if model.inner.single_step and in_parameters else {}
