"""The kinds of model in a recipe: networks, mixtures, and models trained elsewhere."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from morex.models.mixture import Combine
from morex.models.named import open_model
from morex.models.named_model import NamedModel
from morex.models.routing import Routing
from morex.recipe.fields import AnyNames, InnerSearch, Names, Shares, Strict, TradesLoss, Training
from morex.recipe.keys import AlwaysInKey, InKey, as_json, key_part
from morex.recipe.kind import Model, Setting, Step
from morex.recipe.losses import check_loss, judged_by

_REMOVED = ("committees", "sharpness")
"""Keys of a mixture that earlier versions of morex had."""

ObjectiveName = Literal[
    "single",
    "max",
    "average",
    "msd",
    "one-drawn",
    "drawn-by-error",
    "alternate",
    "side-by-side",
]


class NetworkModel(Model):
    """One network trained by one objective: an expert, or a baseline such as MAX.

    With the kind ``distilled`` it learns the answers of another model instead of the labels.

    Args:
        objective: how the perturbations in ``against`` make a batch.
        against: the perturbations that it trains on.
        shares: parts of a batch for members of ``against``; by default one each.
        warm_start: a network to start from.
        teacher: the model whose answers a distilled network learns, such as a mixture.
        logit_pairing: if positive, the weight of RAMP's logit pairing beside the objective ``max``
            over two perturbations: where the answer to the first is right, that to the second is to
            be like it.
        trades: set for the loss and the search of TRADES.
        inner: the search of the training.
        training: how long and how fast it trains.
    """

    can_be_expert: ClassVar[bool] = True
    experts: ClassVar[tuple[str, ...]] = ()

    kind: Literal["network", "distilled"] = "network"
    objective: ObjectiveName = "single"
    against: Annotated[Names, InKey.NEVER]
    shares: Annotated[Shares, InKey.NEVER] = Field(default_factory=dict)
    warm_start: str | None = None
    teacher: Annotated[str | None, InKey.IF_CHANGED] = None
    logit_pairing: Annotated[float, Field(ge=0), InKey.IF_CHANGED] = 0
    trades: Annotated[TradesLoss | None, InKey.IF_CHANGED] = None
    inner: InnerSearch
    training: Annotated[Training, InKey.NEVER]

    @model_validator(mode="after")
    def _has_one_loss(self) -> "NetworkModel":
        check_loss(self)
        return self

    @property
    def parents(self) -> tuple[str, ...]:
        """The network that it starts from, and its teacher, if any."""
        return tuple(filter(None, (self.warm_start, self.teacher)))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its training."""
        return (Step("train", self.parents, self.training),)

    def decided_by(self, step: Step, setting: Setting) -> dict[str, Any]:
        """Return what decides its training."""
        return _decided_by(self, step, setting, setting.network)


class RobustGate(Strict):
    """A gate that learns, in its warm-up, to name experts under attacks on the gate itself.

    The gate of a mixture with a warm start is there already and goes on; set only ``inner``.

    Args:
        start: the expert from whose body the gate starts, a network; by default a new network.
        experts: for perturbations of the mixture, the experts that are right for them; by default
            the one that any warm-up names.
        inner: the PGD on the gate.
    """

    start: str | None = None
    experts: dict[str, Names] = Field(default_factory=dict)
    inner: Annotated[InnerSearch, AlwaysInKey(("push",))] = InnerSearch()


class MixtureModel(Model):
    """MoRE: a gate over experts; gate and last layers train, after a warm-up of the gate.

    Args:
        experts: the networks that the gate weights.
        warm_start: a mixture to start from, with other experts (``models/extend.py``).
        objective, against, shares: as for a network.
        combine: what the gate weights: the paper's logits, or probabilities.
        inner: the search of the training, and of the warm-up unless the gate is robust.
        gate_warmup: how the gate learns alone first; None for no warm-up.
        robust_gate: set if the warm-up is against attacks on the gate.
        training: of gate and last layers together; None if only the gate learns.
    """

    has_gate: ClassVar[bool] = True

    kind: Literal["mixture"]
    experts: Names
    warm_start: Annotated[str | None, InKey.IF_CHANGED] = None
    objective: ObjectiveName = "side-by-side"
    against: Annotated[Names, InKey.NEVER]
    shares: Annotated[Shares, InKey.NEVER] = Field(default_factory=dict)
    combine: Annotated[Combine, InKey.IF_CHANGED] = "logits"
    inner: InnerSearch
    gate_warmup: Annotated[Training | None, InKey.NEVER] = None
    robust_gate: Annotated[RobustGate | None, InKey.IF_CHANGED] = None
    training: Annotated[Training | None, InKey.NEVER]

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
    def parents(self) -> tuple[str, ...]:
        """Its experts, and the mixture that it starts from, if any."""
        return (*self.experts, *self._start)

    @property
    def _start(self) -> tuple[str, ...]:
        return (self.warm_start,) if self.warm_start else ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The warm-up of its gate, if any, and the training of gate and last layers."""
        if not self.gate_warmup:
            return (Step("train", self.parents, self.training),)
        alone = self.gate_learns_alone
        return (
            Step("gate", self._start if alone else self.parents, self.gate_warmup),
            Step("train", self.parents if alone else (), self.training),
        )

    @property
    def gate_learns_alone(self) -> bool:
        """Whether the warm-up of the gate needs none of the experts, only the warm start.

        A gate that goes on from a warm start learns to name experts. If the attacks are on the gate
        too, no expert is asked.
        """
        return bool(self.warm_start and self.gate_warmup and self.robust_gate)

    @property
    def networks(self) -> int:
        """Its experts, and its gate."""
        return len(self.experts) + 1

    def decided_by(self, step: Step, setting: Setting) -> dict[str, Any]:
        """Return what decides its training, and the warm-up of its gate."""
        return _decided_by(self, step, setting, setting.gate)


class UngatedModel(Model):
    """The mean of experts, or the one with the largest logit; nothing trains."""

    against: ClassVar[tuple[str, ...]] = ()

    kind: Literal["mean-of-experts", "largest-logit"]
    experts: Names

    @property
    def parents(self) -> tuple[str, ...]:
        """Its experts."""
        return self.experts

    @property
    def networks(self) -> int:
        """Its experts."""
        return len(self.experts)

    def decided_by(self, step: Step, setting: Setting) -> dict[str, Any]:
        """Return its kind and its experts."""
        return key_part(self) | setting.saving


class SparseModel(Model):
    """A mixture of the recipe that asks only the experts that carry weight; nothing trains.

    Args:
        of: the mixture.
        threshold, top: which experts are asked, as for ``Routing``; set one of the two.
    """

    against: ClassVar[tuple[str, ...]] = ()
    experts: ClassVar[tuple[str, ...]] = ()

    kind: Literal["sparse"]
    of: str
    threshold: float | None = None
    top: int | None = None

    @model_validator(mode="after")
    def _can_route(self) -> "SparseModel":
        assert self.routing  # raises ValueError if it cannot be made
        return self

    @property
    def routing(self) -> Routing:
        """Which experts an image is sent to."""
        return Routing(self.threshold, self.top)

    @property
    def parents(self) -> tuple[str, ...]:
        """The mixture."""
        return (self.of,)

    def decided_by(self, step: Step, setting: Setting) -> dict[str, Any]:
        """Return its mixture and its routing."""
        return key_part(self) | setting.saving


class SavedModel(Model):
    """A network that was trained elsewhere, to be used as an expert.

    Args:
        model: its folder, or the name of a shipped one; or ``robustbench://cifar10/Linf/NAME``; or
            ``package.module:factory``, which makes a torch classifier of any architecture.
        against: what it was trained on, for mixtures whose gate is to name it.
        last_layer: the dotted name of the last linear layer of a factory's classifier.
        input_range, mean, std: the range and normalisation of its input.
        trust_code: whether code that the files of a folder name may run; a factory that is named
            here may.
    """

    can_be_expert: ClassVar[bool] = True
    experts: ClassVar[tuple[str, ...]] = ()

    kind: Literal["saved"]
    model: str
    against: AnyNames = ()
    last_layer: str = "fc"
    input_range: Literal["0..1", "-1..1", "0..255"] = "0..1"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    trust_code: bool = False

    @property
    def origin(self) -> str:
        """Where it is, or what makes it."""
        return self.model

    @property
    def parents(self) -> tuple[str, ...]:
        """None: it is not made from other models."""
        return ()

    def decided_by(self, step: Step, setting: Setting) -> dict[str, Any]:
        """Return what identifies its weights, wherever they are."""
        return {"kind": self.kind, **setting.identity(self), **setting.saving}

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
            trust_code=self.trust_code,
        )


def batch_shares(model: "TrainedModel") -> tuple[int, ...]:
    """Return the parts of a batch of each member of ``against``; empty if no shares are set."""
    return tuple(model.shares.get(name, 1) for name in model.against) if model.shares else ()


def _decided_by(
    model: "TrainedModel", step: Step, setting: Setting, shape: Mapping[str, Any]
) -> dict[str, Any]:
    shares = {"shares": [*batch_shares(model)]} if model.shares else {}
    return {
        **setting.run,
        "network": shape,
        "model": key_part(model) | shares,
        "against": [setting.perturbations[name] for name in model.against],
        **judged_by(model, setting),
        "training": step.training and as_json(step.training),
    }


def _kind(value: Any) -> str:
    """Return the tag of a model's schema; a value that is no model gets that of a network."""
    kind = value.kind if isinstance(value, AnyModel) else "network"
    if isinstance(value, dict):
        kind = value.get("kind", kind)
    if kind == "distilled":
        return "network"
    return "ungated" if kind in ("mean-of-experts", "largest-logit") else str(kind)


ModelSpec = Annotated[
    Annotated[NetworkModel, Tag("network")]
    | Annotated[MixtureModel, Tag("mixture")]
    | Annotated[SavedModel, Tag("saved")]
    | Annotated[UngatedModel, Tag("ungated")]
    | Annotated[SparseModel, Tag("sparse")],
    Discriminator(
        _kind,
        custom_error_type="unknown_kind",
        custom_error_message="Kind should be network, distilled, mixture, sparse, saved, "
        "mean-of-experts or largest-logit",
    ),
]
TrainedModel = NetworkModel | MixtureModel
AnyModel = NetworkModel | MixtureModel | SavedModel | UngatedModel | SparseModel
