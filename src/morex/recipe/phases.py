"""What a training of a model trains on: of the whole, or of its gate alone before that."""

from dataclasses import dataclass, replace

from morex.perturbations import Ball
from morex.recipe.fields import InnerSearch, TradesLoss
from morex.recipe.lineage import known_and_new, right_choices
from morex.recipe.models import MixtureModel, NetworkModel, ObjectiveName, batch_shares
from morex.recipe.schema import Recipe
from morex.training.config import TrainingConfig


@dataclass(frozen=True)
class GateLesson:
    """What a gate learns in its warm-up.

    Args:
        right: for each perturbation what the gate should choose, by index.
        joined: whether only the network beside the gate learns, to name the experts that joined.
        inner: the PGD on the gate itself; None where the class is attacked instead.
    """

    right: tuple[tuple[int, ...], ...]
    joined: bool
    inner: InnerSearch | None


@dataclass(frozen=True)
class Phase:
    """A training of a model.

    Args:
        training: how long and how fast.
        objective: how the perturbations make a batch.
        against: their names.
        shares: the parts of a batch that each of them has; empty if the objective decides.
        inner: the search for balls.
        gate: what the gate learns; None where the model learns the class.
        teacher: the model whose answers it learns instead of the class, if any.
        logit_pairing: the weight of RAMP's logit pairing; 0 for none.
        trades: set if it learns by TRADES.
    """

    training: TrainingConfig
    objective: ObjectiveName
    against: tuple[str, ...]
    shares: tuple[int, ...]
    inner: InnerSearch
    gate: GateLesson | None = None
    teacher: str | None = None
    logit_pairing: float = 0
    trades: TradesLoss | None = None

    @property
    def images(self) -> int:
        """The number of images that the loss sends through the model for each x'."""
        return 2 if self.trades else 1


def phase_of(recipe: Recipe, name: str, kind: str) -> Phase | None:
    """Return what a step of a model trains on.

    Args:
        recipe: the recipe.
        name: a model of it.
        kind: ``gate`` or ``train``; whatever else is done to a model trains nothing.

    Returns:
        None if the step does not train.
    """
    mixture = recipe.mixtures.get(name)
    if mixture and kind == "gate":
        return _warm_up(recipe, mixture)
    model = recipe.trained.get(name)
    if not model or not model.training or kind != "train":
        return None
    shares = batch_shares(model)
    whole = Phase(model.training, model.objective, model.against, shares, model.inner)
    if not isinstance(model, NetworkModel):
        return whole
    pairing, trades = model.logit_pairing, model.trades
    return replace(whole, teacher=model.teacher, logit_pairing=pairing, trades=trades)


def _warm_up(recipe: Recipe, model: MixtureModel) -> Phase | None:
    if not model.gate_warmup:
        return None
    against, objective, shares = model.against, model.objective, batch_shares(model)
    if model.warm_start:
        against = _against_beside(recipe, model)
        objective, shares = "side-by-side", _shares_beside(recipe, model, against)
    lesson = GateLesson(
        tuple(right_choices(recipe, model, name) for name in against),
        joined=bool(model.warm_start),
        inner=model.robust_gate.inner if model.robust_gate else None,
    )
    return Phase(model.gate_warmup, objective, against, shares, model.inner, lesson)


def _against_beside(recipe: Recipe, model: MixtureModel) -> tuple[str, ...]:
    """Return what the network beside a trained gate learns from.

    Unless the gate itself is attacked, balls that it knows are left out: an attack on the class
    goes through all experts and costs more than everything else.
    """
    if model.robust_gate:
        return model.against
    _, new = known_and_new(recipe, model)
    is_ball = {n: isinstance(p, Ball) for n, p in recipe.perturbations.items()}
    return tuple(name for name in model.against if name in new or not is_ball[name])


def _shares_beside(
    recipe: Recipe, model: MixtureModel, against: tuple[str, ...]
) -> tuple[int, ...]:
    """Return the shares of what the network beside a trained gate learns from.

    Half of all images are new, and each new perturbation has as many as any other new one: the
    network learns as if an image were as likely to be new as not. What is known has the mixture's
    own shares of the other half.
    """
    _, new = known_and_new(recipe, model)
    joined = len({*against} & {*new})
    shares = {name: model.shares.get(name, 1) for name in against if name not in new}
    known = sum(shares.values())
    return tuple(max(1, joined * shares[n] if n in shares else known) for n in against)
