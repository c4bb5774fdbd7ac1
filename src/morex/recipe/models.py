"""The kinds of model in a recipe: networks, mixtures, and models trained elsewhere."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from morex.attacks import PGD, Attack, DrawnSteering, Keep
from morex.models.mixture import Combine
from morex.models.named import NamedModel, open_model
from morex.perturbations import Ball
from morex.recipe.components import Strict
from morex.training.config import TrainingConfig

_REMOVED = ("committees", "sharpness")
"""Keys of a mixture that earlier versions of morex had."""

ObjectiveName = Literal["single", "max", "average", "msd", "one-drawn", "alternate", "side-by-side"]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"names something twice: {', '.join(names)}")
    return names


Names = Annotated[
    tuple[str, ...], BeforeValidator(_as_list), AfterValidator(_different), Field(min_length=1)
]
Shares = dict[str, Annotated[int, Field(ge=1)]]
"""Parts of a batch by name."""


class InnerSearch(Strict):
    """The PGD of training and validation, for every ball; transforms are drawn once.

    With a ``push`` the examples steer the gate of a mixture as well, each to an expert that is
    drawn for it (``DrawnSteering``). ``keep`` says which iterate counts, as in ``PGD``.
    """

    steps: int = Field(default=10, ge=1)
    relative_step: float = Field(default=2.5, gt=0)
    random_start: bool = True
    restarts: int = Field(default=1, ge=1)
    push: float = Field(default=0, ge=0)
    keep: Keep = "best"

    @model_validator(mode="after")
    def _can_steer(self) -> "InnerSearch":
        if self.push and not (self.random_start and self.restarts == 1):
            raise ValueError("push: steering starts at random and has no restarts")
        if self.push and self.keep != "best":
            raise ValueError("push: steering keeps the best iterate; leave out keep")
        return self

    @model_validator(mode="after")
    def _has_a_last(self) -> "InnerSearch":
        if self.keep == "last" and self.restarts > 1:
            raise ValueError(f"keep: of {self.restarts} restarts none has the last iterate")
        return self

    @property
    def budget(self) -> dict[str, Any]:
        """The arguments of a plain ``PGD``."""
        return self.model_dump(exclude={"push"})

    def attack(self, ball: Ball) -> Attack:
        """Return the search of a ball."""
        if self.push:
            return DrawnSteering(ball, self.steps, self.relative_step, self.push)
        return PGD(ball, **self.budget)


class NetworkModel(Strict):
    """One network trained by one objective: an expert, or a baseline such as MAX.

    ``shares`` gives members of ``against`` more than one part of every batch.
    """

    kind: Literal["network"] = "network"
    objective: ObjectiveName = "single"
    against: Names
    shares: Shares = Field(default_factory=dict)
    warm_start: str | None = None
    inner: InnerSearch
    training: TrainingConfig


class RobustGate(Strict):
    """A gate that learns, in its warm-up, to name experts under attacks on the gate itself.

    Args:
        start: the expert from whose body the gate starts, a network; a new network otherwise.
        experts: for perturbations of the mixture the experts that are right for them; where none
            are named it is the one that any warm-up names.
        inner: the PGD on the gate.

    The gate of a mixture with a warm start is there already and goes on: ``inner`` alone is said.
    """

    start: str | None = None
    experts: dict[str, Names] = Field(default_factory=dict)
    inner: InnerSearch = InnerSearch()


class MixtureModel(Strict):
    """MoRE: a gate over experts; gate and last layers train, after a warm-up of the gate.

    ``shares`` is as in a network; ``combine`` says what the gate weights, the paper's logits or
    probabilities. With a ``robust_gate`` the warm-up is against attacks on the gate. Where
    ``training`` is null that is all there is. A mixture with a ``warm_start`` begins as that one
    does, with other experts (``extend.py``).
    """

    kind: Literal["mixture"]
    experts: Names
    warm_start: str | None = None
    objective: ObjectiveName = "side-by-side"
    against: Names
    shares: Shares = Field(default_factory=dict)
    combine: Combine = "logits"
    inner: InnerSearch
    gate_warmup: TrainingConfig | None = None
    robust_gate: RobustGate | None = None
    training: TrainingConfig | None

    @model_validator(mode="before")
    @classmethod
    def _without_removed_keys(cls, raw: Any) -> Any:
        """Drop two keys that earlier versions wrote to every recipe.yaml, if they are empty."""
        if not isinstance(raw, dict):
            return raw
        if used := [key for key in _REMOVED if raw.get(key)]:
            raise ValueError(
                f"this version of morex has no {' and no '.join(used)}; take this model out of the "
                "recipe, or train it without"
            )
        return {key: value for key, value in raw.items() if key not in _REMOVED}

    @property
    def gate_learns_alone(self) -> bool:
        """Whether what a gate learns before it meets the experts that joined needs none of them.

        A gate that goes on from a warm start names experts, and what attacks it asks nothing else.
        """
        return bool(self.warm_start and self.gate_warmup and self.robust_gate)


class UngatedModel(Strict):
    """The mean of experts, or the one with the largest logit; nothing trains."""

    kind: Literal["mean-of-experts", "largest-logit"]
    experts: Names


class SavedModel(Strict):
    """A network that was trained elsewhere: an expert to take in.

    Args:
        model: its folder, or the name of a shipped one; or ``package.module:factory``, which makes
            a torch classifier of any architecture.
        against: what it was trained on, for mixtures whose gate is to name it.
        last_layer: of a factory's classifier, the dotted name of its last linear layer.
        input_range, mean, std: the pixels that it wants.
    """

    kind: Literal["saved"]
    model: str
    against: tuple[str, ...] = ()
    last_layer: str = "fc"
    input_range: Literal["0..1", "-1..1", "0..255"] = "0..1"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def open(self) -> NamedModel:
        """Return the model, opened anew.

        Raises:
            ModelError: if there is no such model.
            HubError: if it cannot be downloaded from the hub.
        """
        return open_model(
            self.model,
            input_range=self.input_range,
            mean=self.mean,
            std=self.std,
            last_layer=self.last_layer,
        )


def _kind(value: Any) -> str:
    """Return which schema a model has; what is no model at all is left to the network's."""
    kind = value.kind if isinstance(value, AnyModel) else "network"
    if isinstance(value, dict):
        kind = value.get("kind", kind)
    return "ungated" if kind in ("mean-of-experts", "largest-logit") else str(kind)


ModelSpec = Annotated[
    Annotated[NetworkModel, Tag("network")]
    | Annotated[MixtureModel, Tag("mixture")]
    | Annotated[SavedModel, Tag("saved")]
    | Annotated[UngatedModel, Tag("ungated")],
    Discriminator(
        _kind,
        custom_error_type="unknown_kind",
        custom_error_message="Kind should be network, mixture, saved, mean-of-experts or "
        "largest-logit",
    ),
]
TrainedModel = NetworkModel | MixtureModel
SingleModel = NetworkModel | SavedModel
AnyModel = NetworkModel | MixtureModel | SavedModel | UngatedModel
