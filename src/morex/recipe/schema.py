"""Recipes: everything that decides a run, validated when it is read."""

from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD, Attack, DrawnSteering, Keep
from morex.models.mixture import Combine
from morex.models.named import NamedModel, open_model
from morex.models.resnet import ARCHITECTURES
from morex.perturbations import Ball, Perturbation
from morex.recipe.components import AnyAttack, AnyPerturbation, AttackSpec, Strict, named_parts
from morex.recipe.errors import RecipeError
from morex.recipe.suites import load_suite
from morex.training.config import TrainingConfig

_COMPUTED_ROWS = ("union", "mean")
"""Lines that tables compute from the rows."""

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


class DataConfig(Strict):
    """Where the images come from, how many of them choose the models, and augmentation.

    ``folder`` and the columns say how to find the data; they do not decide results, the data does.
    ``note`` is said beside the data's name wherever results are shown.
    """

    name: str
    note: str = ""
    folder: str | None = None
    image_size: int | None = Field(default=None, ge=1)
    image_column: str | None = None
    label_column: str | None = None
    validation: float = Field(default=0.1, gt=0, lt=1)
    train_examples: int | None = Field(default=None, ge=2)
    validation_examples: int | None = Field(default=None, ge=1)
    crop: int = Field(default=0, ge=0)
    flip: bool = False


class NetworkSpec(Strict):
    """Shape of a network; image size, classes and normalisation come from the data."""

    architecture: str = "resnet18"
    width: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _known(self) -> "NetworkSpec":
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ValueError(f"unknown architecture {self.architecture!r}; known are {known}")
        return self


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


class SuiteUse(Strict):
    """A further suite: on how many test images, and its file if it is not a shipped one."""

    examples: int | None = Field(default=None, ge=1)
    file: str | None = None


class Evaluation(Strict):
    """The suite: named rows, and how many test images they see.

    ``suites`` names further ones, which give tables of their own, over the same perturbations.
    """

    examples: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=256, ge=1)
    rows: dict[str, AnyAttack] = Field(min_length=1)
    suites: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_]+$")], SuiteUse] = Field(
        default_factory=dict
    )


class Report(Strict):
    """What the report page shows of some models beside the table.

    Args:
        models: whose curves and confusions are shown; None leaves the choice to morex.
        examples: test images that those rest on.
        steps: of PGD in the curves.
        factors: strengths in the curves, as factors on those of the table.
        pictures: how many test images the gallery has.
    """

    models: Names | None = None
    examples: int = Field(default=100, ge=1)
    steps: int = Field(default=10, ge=1)
    factors: tuple[Annotated[float, Field(ge=0)], ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    pictures: int = Field(default=12, ge=0)

    @field_validator("factors")
    @classmethod
    def _rising(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(float(f"{factor:g}") for factor in factors)):
            raise ValueError(f"expected rising factors on the strength, got {[*factors]}")
        return factors


class Recipe(Strict):
    """A whole run: data, networks, perturbations, models, and what they are attacked with.

    ``columns`` are the models that are evaluated, in the order of the table. ``threads`` is the
    number of threads of a stage on the CPU: small networks gain nothing from several, and stages
    are then done side by side. It decides the order of sums, hence the last bits of a result; None
    leaves it to PyTorch. ``saved_precision`` is the number format of finished models on disk. All
    that follows, other models included, reads them from there: what is measured is what was saved.
    ``report: null`` leaves out what the report page shows beside the tables.
    """

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    saved_precision: Literal["fp32", "bf16"] = "fp32"
    data: DataConfig
    network: NetworkSpec
    gate: NetworkSpec | None = None
    perturbations: Annotated[
        dict[str, AnyPerturbation], BeforeValidator(named_parts), Field(min_length=1)
    ]
    inner: InnerSearch = InnerSearch()
    training: TrainingConfig = TrainingConfig()
    models: dict[str, ModelSpec] = Field(min_length=1)
    columns: Names
    evaluation: Evaluation
    report: Report | None = Report()

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        checks = (
            _unknown_names,
            _wrong_uses,
            _wrong_rows,
            _wrong_suites,
            _cycles,
            _same_slugs,
        )
        problems = [problem for check in checks for problem in check(self)]
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    def perturbations_of(self, names: tuple[str, ...]) -> tuple[Perturbation, ...]:
        """Return the perturbations called ``names``."""
        return tuple(self.perturbations[name] for name in names)

    def rows(self, suite: str = "") -> dict[str, AttackSpec]:
        """Return the rows of the table by name, or those of a further suite.

        Raises:
            RecipeError: if the suite cannot be read.
        """
        if not suite:
            return self.evaluation.rows
        use = self.evaluation.suites[suite]
        rows = load_suite(use.file or suite, self.attacked())
        few = {"examples": use.examples}
        return {k: r if r.examples else r.model_copy(update=few) for k, r in rows.items()}

    def attacked(self) -> dict[str, Perturbation]:
        """Return the perturbations that the rows of the table are about."""
        names = dict.fromkeys(row.perturbation for row in self.evaluation.rows.values())
        return {name: self.perturbations[name] for name in names}

    def of_evaluation(self) -> dict[str, Any]:
        """Return what of the recipe an evaluation needs, as JSON values."""
        needed = {"threads", "data", "perturbations", "evaluation"}
        return self.model_dump(mode="json", include=needed)


def slug(name: str) -> str:
    """Return a model's name as a folder name: ``MoRE (all)`` becomes ``more-all``."""
    letters = "".join(c if c.isalnum() or c in "._+" else " " for c in name.lower())
    return "-".join(letters.split())


def parents(model: AnyModel) -> tuple[str, ...]:
    """Return the models that this one is made from."""
    experts = () if isinstance(model, SingleModel) else model.experts
    start = model.warm_start if isinstance(model, TrainedModel) else None
    return (*experts, start) if start else experts


def _unknown_names(recipe: Recipe) -> list[str]:
    """Say which names stand for nothing."""
    problems = []

    def check(path: str, name: str, known: dict[str, Any], what: str) -> None:
        if name not in known:
            problems.append(f"{path}: no {what} {name!r}; there are {', '.join(known)}")

    for key, model in recipe.models.items():
        for parent in parents(model):
            check(f"models.{key}", parent, recipe.models, "model")
        if not isinstance(model, UngatedModel):
            for name in model.against:
                check(f"models.{key}.against", name, recipe.perturbations, "perturbation")
    for key in recipe.columns:
        check("columns", key, recipe.models, "model")
    for key in (recipe.report and recipe.report.models) or ():
        check("report.models", key, dict.fromkeys(recipe.columns), "column")
    for key, row in recipe.rows().items():
        check(
            f"evaluation.rows.{key}.perturbation",
            row.perturbation,
            recipe.perturbations,
            "perturbation",
        )
    return problems


def _wrong_uses(recipe: Recipe) -> list[str]:
    """Say which names stand for the wrong thing."""
    problems = []
    for key, model in recipe.models.items():
        problems += _wrong_parents(recipe, key, model)
        if not isinstance(model, TrainedModel) or not {*model.against} <= {*recipe.perturbations}:
            continue
        if isinstance(model, NetworkModel) and model.inner.push:
            problems.append(f"models.{key}.inner.push: a network has no gate to steer")
        members = recipe.perturbations_of(model.against)
        if model.objective == "single" and len(members) > 1:
            problems.append(f"models.{key}: single trains on one perturbation, got {model.against}")
        if model.objective == "msd" and not all(isinstance(m, Ball) for m in members):
            problems.append(f"models.{key}: msd takes balls only, got {model.against}")
        if isinstance(model, TrainedModel) and model.shares:
            problems += _wrong_shares(key, model)
        if isinstance(model, MixtureModel):
            problems += _wrong_mixture(recipe, key, model)
    return problems


def _wrong_mixture(recipe: Recipe, key: str, model: MixtureModel) -> list[str]:
    """Say what of a mixture cannot be."""
    problems = _experts_missing(recipe, key, model) if model.gate_warmup else []
    if model.warm_start and model.gate_warmup and not joined_experts(recipe, model):
        problems.append(
            f"models.{key}: its gate has no new expert to learn; set gate_warmup to null"
        )
    if not (model.training or model.gate_warmup):
        problems.append(f"models.{key}: nothing trains; set gate_warmup or training")
    joined = joined_experts(recipe, model)
    if joined and model.experts[-len(joined) :] != joined:
        problems.append(f"models.{key}.experts: those that join come last ({', '.join(joined)})")
    if model.robust_gate:
        problems += _wrong_gate(recipe, f"models.{key}.robust_gate", model, model.robust_gate)
    return problems


def _wrong_gate(recipe: Recipe, path: str, model: MixtureModel, gate: RobustGate) -> list[str]:
    """Say what of a robust gate stands for nothing, or cannot be."""
    problems = []
    if not model.gate_warmup:
        problems.append(f"{path}: is learnt in a warm-up; set gate_warmup")
    if model.warm_start and (gate.start or gate.experts):
        problems.append(
            f"{path}: a mixture with a warm start has a gate already, which names new experts "
            "alone; leave out start and experts"
        )
    if gate.inner.push:
        problems.append(f"{path}.inner.push: this search attacks nothing but the gate")
    if gate.start and gate.start not in model.experts:
        problems.append(f"{path}.start: {gate.start!r} is not in experts")
    elif gate.start and not isinstance(recipe.models.get(gate.start), NetworkModel):
        problems.append(f"{path}.start: {gate.start!r} is not a network of this recipe")
    elif gate.start and recipe.gate and recipe.gate != recipe.network:
        problems.append(f"{path}.start: gate has another shape than the experts")
    if model.objective != "side-by-side" and not model.warm_start:
        problems.append(f"{path}: is learnt side by side, not by {model.objective}")
    for name, experts in gate.experts.items():
        if name not in model.against:
            problems.append(f"{path}.experts: {name!r} is not in against")
        strangers = [expert for expert in experts if expert not in model.experts]
        problems += [f"{path}.experts.{name}: {s!r} is not in experts" for s in strangers]
    return problems


def _wrong_shares(key: str, model: NetworkModel | MixtureModel) -> list[str]:
    """Say which shares belong to nothing, or have no meaning."""
    if model.objective != "side-by-side":
        return [f"models.{key}.shares: {model.objective} has none, only side-by-side has"]
    unknown = [name for name in model.shares if name not in model.against]
    return [f"models.{key}.shares: {name!r} is not in against" for name in unknown]


def _wrong_parents(recipe: Recipe, key: str, model: AnyModel) -> list[str]:
    """Say which parents are of the wrong kind: an expert is a network, a start as the model."""
    problems = []
    for parent in parents(model):
        of_mixture = isinstance(model, MixtureModel) and parent not in model.experts
        found = recipe.models.get(parent)
        if found and not isinstance(found, MixtureModel if of_mixture else SingleModel):
            wanted = "mixture" if of_mixture else "network"
            problems.append(f"models.{key}: {parent!r} is a {found.kind}, expected a {wanted}")
    if isinstance(model, MixtureModel) and (base := _warm_start(recipe, model)):
        start = f"its warm start {model.warm_start!r}"
        if not {*model.experts} & {*base.experts}:
            problems.append(f"models.{key}: has no expert in common with {start}")
        if model.combine != base.combine:
            problems.append(f"models.{key}: combine is not that of {start}")
    return problems


def _wrong_rows(recipe: Recipe) -> list[str]:
    """Say which rows have a name that results cannot take, or an attack that cannot be made."""
    problems = []
    for key, row in recipe.rows().items():
        if key in _COMPUTED_ROWS:
            problems.append(f"evaluation.rows.{key}: this name is that of a computed row")
        try:
            Outcomes({key: np.ones(1, np.bool_)})
        except ValueError as error:
            problems.append(f"evaluation.rows: {error}")
        if row.perturbation in recipe.perturbations:
            try:
                row.build(recipe.perturbations)
            except ValueError as error:
                problems.append(f"evaluation.rows.{key}: {error}")
    return problems


def _wrong_suites(recipe: Recipe) -> list[str]:
    """Say which further suites cannot be read or used."""
    if _unknown_names(recipe):
        return []
    problems = []
    for name in recipe.evaluation.suites:
        try:
            recipe.rows(name)
        except RecipeError as error:
            problems.append(f"evaluation.suites.{name}: {error}")
    return problems


def _experts_missing(recipe: Recipe, key: str, model: MixtureModel) -> list[str]:
    old, new = known_and_new(recipe, model)
    which = "a new expert" if old else "an expert"
    return [
        f"models.{key}: the gate's warm-up needs {which} trained on {name!r}; add one to "
        "experts, or set gate_warmup to null"
        for name in model.against
        if name in new and not right_choices(recipe, model, name)
    ]


def known_and_new(recipe: Recipe, model: MixtureModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what of ``against`` a mixture knew when it was last trained whole, and what is new."""
    base = trained_whole(recipe, model)
    before = base.against if base else ()
    known = tuple(name for name in model.against if name in before)
    return known, tuple(name for name in model.against if name not in before)


def _warm_start(recipe: Recipe, model: MixtureModel) -> MixtureModel | None:
    """Return the mixture that a mixture starts from, if any."""
    base = recipe.models.get(model.warm_start or "")
    return base if isinstance(base, MixtureModel) else None


def trained_whole(recipe: Recipe, model: MixtureModel) -> MixtureModel | None:
    """Return the mixture, trained whole, that a mixture goes on from by warm starts, if any."""
    way = [model]
    while (base := _warm_start(recipe, way[-1])) and base not in way:  # circles: said elsewhere
        way.append(base)
    return way[-1] if len(way) > 1 else None


def joined_experts(recipe: Recipe, model: MixtureModel) -> tuple[str, ...]:
    """Return the experts that joined a mixture since it was last trained whole."""
    base = trained_whole(recipe, model)
    return tuple(name for name in model.experts if base and name not in base.experts)


def expert_for(recipe: Recipe, model: MixtureModel, perturbation: str) -> int | None:
    """Return the index of the expert that a gate's warm-up should name for ``perturbation``.

    It is the first that is trained on it alone, else the first that is trained on it before all
    else, else the first that is trained on it at all; those of a mixture trained whole that it goes
    on from are left out. None if there is no such expert.
    """
    base = trained_whole(recipe, model)
    old = base.experts if base else ()
    against = {
        index: spec.against
        for index, expert in enumerate(model.experts)
        if isinstance(spec := recipe.models.get(expert), SingleModel) and expert not in old
    }
    alone = [index for index, names in against.items() if names == (perturbation,)]
    first = [index for index, names in against.items() if names[:1] == (perturbation,)]
    beside = [index for index, names in against.items() if perturbation in names]
    return next(iter(alone + first + beside), None)


def right_choices(recipe: Recipe, model: MixtureModel, perturbation: str) -> tuple[int, ...]:
    """Return what a gate should name for a perturbation, of all that it chooses among.

    Indices of experts; after a warm start 0 for all that is known, and 1 for the first expert that
    joined. Empty if there is no expert for it.
    """
    if model.warm_start:
        _, new = known_and_new(recipe, model)
        if perturbation not in new:
            return (0,)
        joined = joined_experts(recipe, model)
        expert = expert_for(recipe, model, perturbation)
        return () if expert is None else (1 + expert - len(model.experts) + len(joined),)
    named = model.robust_gate.experts if model.robust_gate else {}
    if perturbation in named:
        right = named[perturbation]
        return tuple(model.experts.index(name) for name in right if name in model.experts)
    single = expert_for(recipe, model, perturbation)
    return () if single is None else (single,)


def _cycles(recipe: Recipe) -> list[str]:
    """Say which models are, in the end, made from themselves."""
    if _unknown_names(recipe):
        return []
    problems = []
    for key in recipe.models:
        seen: set[str] = set()
        queue = [*parents(recipe.models[key])]
        while queue:
            name = queue.pop()
            if name not in seen:
                seen.add(name)
                queue += parents(recipe.models[name])
        if key in seen:
            problems.append(f"models.{key}: is made from itself")
    return problems


def _same_slugs(recipe: Recipe) -> list[str]:
    """Say which models would share a folder."""
    owner: dict[str, str] = {}
    problems = []
    for key in recipe.models:
        if not any(letter.isalnum() for letter in key):
            problems.append(f"models: {key!r} needs at least one letter or digit")
        if slug(key) in owner:
            problems.append(f"models: {owner[slug(key)]!r} and {key!r} differ too little")
        owner[slug(key)] = key
    return problems
