"""Which losses of a network go with what else a recipe says about it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morex.recipe.models import NetworkModel


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
