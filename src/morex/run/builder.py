"""From the words of a recipe to the objects that do the work."""

from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn

from morex.attacks import PGD, Attack, AwayFromChoices, search_of
from morex.core.seeding import derived_seed, generator_for
from morex.data import Augment, Data, ImageSet, load_data
from morex.evaluation.illustrate import Illustrator
from morex.evaluation.suite import Row, Suite
from morex.models.errors import ModelError
from morex.models.extend import regrouped
from morex.models.external import Foreign, check_answers
from morex.models.mixture import UNGATED, Ensemble, Mixture, last_linear
from morex.models.named import FromFactory
from morex.models.resnet import NetworkConfig, ResNet
from morex.perturbations import Ball
from morex.recipe import Recipe
from morex.recipe.lineage import joined_experts, known_and_new, right_choices
from morex.recipe.models import MixtureModel, NetworkModel, SavedModel, TrainedModel, UngatedModel
from morex.recipe.schema import NetworkSpec
from morex.run.stages import Kind, Opener
from morex.training.batches import TrainingData
from morex.training.criteria import Criterion, ExpertForMember, NewExperts
from morex.training.objectives import (
    Alternate,
    Average,
    Max,
    Objective,
    OneDrawn,
    SideBySide,
    Single,
)

OBJECTIVES: dict[str, type[Objective]] = {
    "single": Single,
    "max": Max,
    "average": Average,
    "one-drawn": OneDrawn,
    "alternate": Alternate,
    "side-by-side": SideBySide,
}


def extends_gate(model: TrainedModel, kind: Kind) -> TypeGuard[MixtureModel]:
    """Return whether a stage warms up the gate of a mixture that goes on from a trained one."""
    return kind == "gate" and isinstance(model, MixtureModel) and model.warm_start is not None


@dataclass(frozen=True)
class Workshop:
    """Builds what a recipe describes, for one data set on one device."""

    recipe: Recipe
    data: Data
    device: torch.device
    opened: Opener = field(default_factory=lambda: cache(SavedModel.open), compare=False)
    """Opens a model that was trained elsewhere, each only once."""

    @classmethod
    def open(cls, recipe: Recipe, device: torch.device) -> "Workshop":
        """Load the recipe's data.

        Raises:
            DataError: if the data is not there or is wrong.
        """
        spec = recipe.data
        data = load_data(
            spec.name,
            Path(spec.folder) if spec.folder else None,
            image_size=spec.image_size,
            image_column=spec.image_column,
            label_column=spec.label_column,
        )
        return cls(recipe, data, device)

    @cached_property
    def training_data(self) -> TrainingData:
        """The training set and the validation set that is cut from it."""
        spec = self.recipe.data
        train, validation = self.data.train.split(spec.validation, self.recipe.seed)
        if spec.train_examples is not None:
            train = train.sample(spec.train_examples, self.recipe.seed)
        if spec.validation_examples is not None:
            validation = validation.sample(spec.validation_examples, self.recipe.seed)
        augment = Augment(crop=spec.crop, flip=spec.flip)
        return TrainingData(train.to(self.device), validation.to(self.device), augment)

    @property
    def test_rows(self) -> Tensor:
        """Which test images are used, in an order drawn once for all: every prefix is a sample."""
        order = torch.randperm(len(self.data.test), generator=generator_for(0, "test order"))
        return order[: self.recipe.evaluation.examples]

    @cached_property
    def test_data(self) -> ImageSet:
        """The test images at ``test_rows``."""
        return self.data.test.take(self.test_rows).to(self.device)

    @cached_property
    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the training pixels per channel, from counts of bytes."""
        images = self.data.train.images
        value = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in range(images.shape[1]):
            share = torch.bincount(images[:, channel].flatten(), minlength=256) / (
                images[:, channel].numel()
            )
            mean = float((share * value).sum())
            means.append(round(mean, 6))
            deviations.append(round(float((share * (value - mean) ** 2).sum().sqrt()), 6))
        return tuple(means), tuple(deviations)

    def network_config(self, spec: NetworkSpec, outputs: int) -> NetworkConfig:
        """Return the shape of a network for this data."""
        mean, std = self.pixel_statistics
        _, height, width = self.data.train.shape
        return NetworkConfig(spec.architecture, spec.width, outputs, (height, width), mean, std)

    def network(self, name: str) -> ResNet:
        """Return a new network for the classes of the data, drawn for the model ``name``."""
        config = self.network_config(self.recipe.network, len(self.data.train.classes))
        return ResNet(config, seed=derived_seed(self.recipe.seed, name, "weights"))

    def from_elsewhere(self, spec: SavedModel) -> nn.Module:
        """Return a network that was trained elsewhere.

        Raises:
            ModelError: if there is none, it is a mixture, or its classes are not the data's.
            ForeignModelError: if a classifier cannot be made, or does not return logits.
            ValueError: if it has no such last layer.
        """
        named, data = self.opened(spec), self.data.train
        model, classes = named.load(), named.about.get("classes", data.classes)
        if isinstance(named, FromFactory):
            last_linear(model, named.config.path, named.name)
            check_answers(model, data.pixels(slice(0, 2)), len(data.classes))
        if not isinstance(model, ResNet | Foreign):
            raise ModelError(f"{spec.model} is a {type(model).__name__}, expected a single network")
        if tuple(classes) != data.classes:
            raise ModelError(
                f"{spec.model} has the classes {', '.join(map(str, classes))}, which are not those "
                f"of {self.data.name}"
            )
        return model

    def mixture(self, name: str, model: MixtureModel, experts: dict[str, nn.Module]) -> Mixture:
        """Return a mixture of ``experts`` with a new gate."""
        joined = {n: experts[n] for n in joined_experts(self.recipe, model)}
        known = {n: expert for n, expert in experts.items() if n not in joined}
        mixture = self._ungrown(name, model, known)
        return regrouped(mixture, (*known, *joined), joined) if joined else mixture

    def _ungrown(self, name: str, model: MixtureModel, experts: dict[str, nn.Module]) -> Mixture:
        """Return a mixture of experts none of which joined later."""
        start = experts.get((model.robust_gate and model.robust_gate.start) or "")
        if isinstance(start, ResNet):
            gate = start.with_outputs(len(experts))
        else:
            config = self.network_config(self.recipe.gate or self.recipe.network, len(experts))
            gate = ResNet(config, seed=derived_seed(self.recipe.seed, name, "gate"))
        return Mixture(experts, gate, combine=model.combine)

    def objective(self, model: NetworkModel | MixtureModel, kind: Kind = "train") -> Objective:
        """Return the objective of a model, or of the warm-up of its gate."""
        against = self.against(model, kind)
        if extends_gate(model, kind):
            return SideBySide(self._members(model, kind), self._shares_of_warmup(model))
        perturbations = self.recipe.perturbations_of(against)
        if model.objective == "msd":
            balls = tuple(p for p in perturbations if isinstance(p, Ball))
            return Single((PGD(balls, **model.inner.budget),))
        members = self._members(model, kind)
        if model.shares:
            return SideBySide(members, tuple(model.shares.get(name, 1) for name in model.against))
        return OBJECTIVES[model.objective](members)

    def against(self, model: NetworkModel | MixtureModel, kind: Kind = "train") -> tuple[str, ...]:
        """Return the names of what a model, or the warm-up of its gate, is trained on."""
        if extends_gate(model, kind):
            return self._of_warmup(model)
        return model.against

    def _members(self, model: NetworkModel | MixtureModel, kind: Kind) -> tuple[Attack, ...]:
        """Return what searches for the images of a training, or of the warm-up of a gate."""
        against = self.against(model, kind)
        if kind != "gate" or not isinstance(model, MixtureModel) or not model.robust_gate:
            return tuple(self._member(name, model) for name in against)
        inner = model.robust_gate.inner.budget

        def misled(ball: Ball, right: tuple[int, ...]) -> Attack:
            return PGD(ball, **inner, loss=AwayFromChoices(right))

        return tuple(
            search_of(self.recipe.perturbations[name], partial(misled, right=right))
            for name, right in zip(against, self._right_choices(model), strict=True)
        )

    def _right_choices(self, model: MixtureModel) -> tuple[tuple[int, ...], ...]:
        """Return what a gate should name in its warm-up, for each member."""
        return tuple(right_choices(self.recipe, model, name) for name in self._of_warmup(model))

    def _member(self, name: str, model: NetworkModel | MixtureModel) -> Attack:
        return search_of(self.recipe.perturbations[name], model.inner.attack)

    def _of_warmup(self, model: MixtureModel) -> tuple[str, ...]:
        """Return what a gate that knows much already warms up on.

        Unless the gate itself is attacked, balls that it knows are left out: an attack on the class
        goes through all experts and costs more than all the rest.
        """
        if model.robust_gate or not model.warm_start:
            return model.against
        _, new = known_and_new(self.recipe, model)
        is_ball = {n: isinstance(p, Ball) for n, p in self.recipe.perturbations.items()}
        return tuple(name for name in model.against if name in new or not is_ball[name])

    def _shares_of_warmup(self, model: MixtureModel) -> tuple[int, ...]:
        """Return the shares of what a gate that knows much already warms up on.

        Half of all images are new, and each new perturbation has as many as any other that is new:
        what is beside the gate learns as if an image were as likely to be new as not. What is known
        has the mixture's own shares of the other half.
        """
        _, new = known_and_new(self.recipe, model)
        names = self._of_warmup(model)
        joined = len({*names} & {*new})
        shares = {name: model.shares.get(name, 1) for name in names if name not in new}
        known = sum(shares.values())
        return tuple(max(1, joined * shares[n] if n in shares else known) for n in names)

    def gate_criterion(self, model: MixtureModel) -> Criterion:
        """Return what the gate learns while it warms up: which expert a perturbation is for."""
        criterion = NewExperts if model.warm_start else ExpertForMember
        return criterion(self._right_choices(model))

    def ungated(self, model: UngatedModel, experts: dict[str, nn.Module]) -> Ensemble:
        """Return a mixture without a gate."""
        return UNGATED[model.kind](experts)

    def suite(self, name: str = "") -> Suite:
        """Return the attacks of the table, or those of a further suite."""
        return tuple(
            Row(key, row.build(self.recipe.perturbations), row.examples)
            for key, row in self.recipe.rows(name).items()
        )

    def illustrator(self) -> Illustrator:
        """Return what makes the report's illustrations.

        Raises:
            ValueError: if the recipe wants none.
        """
        recipe, wanted = self.recipe, self.recipe.report
        if wanted is None:
            raise ValueError(f"the recipe {recipe.name!r} has report: null, hence no illustrations")
        return Illustrator(
            self.suite(),
            recipe.attacked(),
            **wanted.model_dump(exclude={"models"}),
            seed=recipe.seed,
            batch_size=recipe.evaluation.batch_size,
        )

    def ready(self, model: nn.Module) -> nn.Module:
        """Put a model on the device with its channels innermost in memory."""
        return model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
