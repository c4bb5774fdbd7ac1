"""From a recipe to the data, models, objectives and attacks that it describes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from morex.attacks import PGD, Attack, AwayFromChoices, search_of
from morex.core.seeding import derived_seed
from morex.core.units import with_article
from morex.data import Augment, Data, ImageSet, load_data, load_extra
from morex.data.splits import test_order
from morex.evaluation.illustrate import Illustrator
from morex.evaluation.settings import Settings
from morex.evaluation.suite import Suite
from morex.models.errors import ModelError
from morex.models.extend import regrouped
from morex.models.external import Foreign, check_answers
from morex.models.mixture import UNGATED, Mixture, last_linear
from morex.models.named import FromFactory, FromFolder
from morex.models.network import Network, NetworkConfig
from morex.models.networks import make_network
from morex.models.routing import routed
from morex.perturbations import Ball, Parametric
from morex.recipe import Recipe
from morex.recipe.lineage import joined_experts
from morex.recipe.models import (
    MixtureModel,
    NetworkModel,
    SavedModel,
    SparseModel,
    UngatedModel,
)
from morex.recipe.phases import Phase
from morex.recipe.schema import NetworkSpec
from morex.recipe.suites import Attacks
from morex.run.stages import Opener, Stage, plan_stages
from morex.training.batches import Extra, TrainingData
from morex.training.criteria import (
    ClassOfImage,
    Criterion,
    ExpertForMember,
    LogitPairing,
    NewExperts,
)
from morex.training.distillation import AnswersOfTeacher
from morex.training.drawn import OneDrawn
from morex.training.objectives import (
    Alternate,
    Average,
    Max,
    Objective,
    SideBySide,
    Single,
)
from morex.training.trades import Trades

OBJECTIVES: dict[str, Callable[[tuple[Attack, ...]], Objective]] = {
    "single": Single,
    "max": Max,
    "average": Average,
    "one-drawn": OneDrawn,
    "drawn-by-error": partial(OneDrawn, by_error=True),
    "alternate": Alternate,
    "side-by-side": SideBySide,
}


@dataclass(frozen=True)
class Builder:
    """Builds what a recipe describes, for one data set on one device."""

    recipe: Recipe
    data: Data
    device: torch.device
    opened: Opener = field(default_factory=lambda: cache(SavedModel.open), compare=False)
    """Opens a model that was trained elsewhere, each only once."""
    _suites: dict[str, Attacks] = field(init=False, default_factory=dict, compare=False)

    @classmethod
    def open(cls, recipe: Recipe, device: torch.device) -> "Builder":
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
        return TrainingData(
            train.to(self.device),
            validation.to(self.device),
            Augment(crop=spec.crop, flip=spec.flip),
            self._extra(),
        )

    def _extra(self) -> Extra | None:
        """Return the additional images of trainings, if the recipe has some."""
        spec = self.recipe.data
        if not spec.extra:
            return None
        images = load_extra(
            Path(spec.extra.folder),
            self.data.train,
            image_size=spec.image_size,
            image_column=spec.image_column,
            label_column=spec.label_column,
        )
        return Extra(images.to(self.device), spec.extra.share)

    @property
    def test_rows(self) -> Tensor:
        """Indices of the test images that are used, in an order that is the same for all recipes.

        The order is random, so that every prefix is a random sample.
        """
        order = test_order(len(self.data.test))
        return order[: self.recipe.evaluation.examples]

    @cached_property
    def test_data(self) -> ImageSet:
        """The test images at ``test_rows``."""
        return self.data.test.take(self.test_rows).to(self.device)

    @cached_property
    def settings(self) -> Settings:
        """The settings of evaluations, with what the recipe leaves to the device."""
        _, height, width = self.data.train.shape
        return self.recipe.evaluation.settings(self.recipe.seed, self.device, (height, width))

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

    @cached_property
    def fingerprints(self) -> tuple[str, str]:
        """Checksums of the training data, with its pixel statistics, and of the test data."""
        data = self.training_data
        training = (
            f"{data.train.fingerprint()} {data.validation.fingerprint()} {self.pixel_statistics}"
        )
        if data.extra:
            training += f" {data.extra.images.fingerprint()}"
        return training, self.test_data.fingerprint()

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The stages of the run by id, in an order in which each finds what it needs."""
        planned = plan_stages(
            self.recipe, *self.fingerprints, self.opened, self.attacks, self.settings
        )
        return {stage.id: stage for stage in planned}

    def network_config(self, spec: NetworkSpec, outputs: int) -> NetworkConfig:
        """Return the shape of a network for this data."""
        mean, std = self.pixel_statistics
        _, height, width = self.data.train.shape
        size = height, width
        return NetworkConfig(
            spec.architecture, spec.width, outputs, size, mean, std, spec.activation
        )

    def untrained(self, name: str, expert: Callable[[str], nn.Module]) -> nn.Module:
        """Return a model before any training in this run.

        Args:
            name: its name in the recipe.
            expert: returns what it is made from, by name.

        Raises:
            ModelError, ForeignModelError, ValueError: as ``from_elsewhere``.
        """
        match self.recipe.models[name]:
            case NetworkModel():
                return self.network(name)
            case SavedModel() as model:
                return self.from_elsewhere(model)
            case MixtureModel() as model:
                return self.mixture(name, model, {n: expert(n) for n in model.experts})
            case UngatedModel() as model:
                return UNGATED[model.kind]({n: expert(n) for n in model.experts})
            case SparseModel() as model:
                return routed(expert(model.of), model.routing)

    def network(self, name: str) -> Network:
        """Return a network with new weights for the model ``name``."""
        config = self.network_config(self.recipe.network, len(self.data.train.classes))
        return make_network(config, seed=derived_seed(self.recipe.seed, name, "weights"))

    def from_elsewhere(self, spec: SavedModel) -> nn.Module:
        """Return a network that was trained elsewhere.

        Raises:
            ModelError: if it does not exist, is a mixture, or has other classes than the data.
            ForeignModelError: if a classifier cannot be made, or does not return logits.
            ValueError: if it has no such last layer.
        """
        named, data = self.opened(spec), self.data.train
        model, classes = named.load(), named.about.get("classes", data.classes)
        if isinstance(named, FromFactory):
            last_linear(model, named.config.path, named.name)
        if not isinstance(named, FromFolder):
            check_answers(model, data.pixels(slice(0, 2)), len(data.classes))
        if not isinstance(model, Network | Foreign):
            kind = with_article(type(model).__name__)
            raise ModelError(f"{spec.model} is {kind}, expected a single network")
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
        """Return a mixture that no expert joined later."""
        start = experts.get((model.robust_gate and model.robust_gate.start) or "")
        if isinstance(start, Network):
            gate = start.with_outputs(len(experts))
        else:
            config = self.network_config(self.recipe.gate or self.recipe.network, len(experts))
            gate = make_network(config, seed=derived_seed(self.recipe.seed, name, "gate"))
        return Mixture(experts, gate, combine=model.combine)

    def objective(self, phase: Phase) -> Objective:
        """Return the objective of a training."""
        if phase.objective == "msd":
            perturbations = self.recipe.perturbations_of(phase.against)
            balls = tuple(p for p in perturbations if isinstance(p, Ball))
            if phase.trades:
                return Single((phase.inner.away_from_own_answers(balls),))
            return Single((PGD(balls, **phase.inner.budget),))
        members = self._members(phase)
        if phase.logit_pairing:  # its criterion takes the worse of the two
            return Average(members)
        if phase.shares:
            return SideBySide(members, phase.shares)
        return OBJECTIVES[phase.objective](members)

    def _members(self, phase: Phase) -> tuple[Attack, ...]:
        """Return the searches for the images of a training."""
        perturbations = self.recipe.perturbations_of(phase.against)
        if not phase.gate or not phase.gate.inner:
            inner = phase.inner
            in_ball = inner.away_from_own_answers if phase.trades else inner.attack
            return tuple(search_of(p, in_ball) for p in perturbations)
        budget = phase.gate.inner.budget

        def misled(ball: Ball | Parametric, right: tuple[int, ...]) -> Attack:
            return PGD(ball, **budget, loss=AwayFromChoices(right))

        return tuple(
            search_of(perturbation, partial(misled, right=right))
            for perturbation, right in zip(perturbations, phase.gate.right, strict=True)
        )

    def criterion(self, phase: Phase, model: Callable[[str], nn.Module]) -> Criterion:
        """Return what a training teaches: a class, a teacher's answers, or the expert to choose.

        A class may be that of two perturbed images which are to be answered alike.

        Args:
            phase: the training.
            model: returns a finished model of the recipe, by name.
        """
        if phase.teacher:
            return AnswersOfTeacher(self.ready(model(phase.teacher)))
        if phase.logit_pairing:
            return LogitPairing(phase.logit_pairing)
        if phase.trades:
            return Trades(phase.trades.beta)
        if not phase.gate:
            return ClassOfImage()
        kind = NewExperts if phase.gate.joined else ExpertForMember
        return kind(phase.gate.right)

    def attacks(self, suite: str = "") -> Attacks:
        """Return the rows of the table, or those of a further suite, whose file is read once."""
        if suite not in self._suites:
            self._suites[suite] = self.recipe.attacks(suite)
        return self._suites[suite]

    def suite(self, name: str = "") -> Suite:
        """Return the attacks of the table, or those of a further suite."""
        return self.attacks(name).suite()

    def illustrator(self) -> Illustrator:
        """Return the illustrator for the report page.

        Raises:
            ValueError: if the recipe has ``report: null``.
        """
        recipe, wanted = self.recipe, self.recipe.report
        if wanted is None:
            raise ValueError(f"the recipe {recipe.name!r} has report: null, hence no illustrations")
        return Illustrator(
            self.suite(),
            recipe.attacked(),
            **wanted.model_dump(exclude={"models"}),
            settings=self.settings,
        )

    def ready(self, model: nn.Module) -> nn.Module:
        """Return a model on the device, with its channels innermost in memory."""
        return model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
