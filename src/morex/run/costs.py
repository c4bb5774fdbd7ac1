"""What a run will cost: passes per stage, and time and memory from a short calibration."""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from morex.attacks import DeepFool, GateSteering, Passes, SearchAround
from morex.core.precision import Precision
from morex.core.threads import threads
from morex.evaluation.suite import Suite
from morex.models.mixture import Mixture
from morex.recipe import Recipe
from morex.recipe.illustrated import in_pictures
from morex.recipe.lineage import networks_of
from morex.recipe.models import AnyModel
from morex.recipe.phases import phase_of
from morex.run.builder import Builder
from morex.run.calibration import Speed, calibrate
from morex.run.stages import Stage, plan_stages
from morex.training.config import TrainingConfig
from morex.training.criteria import ClassOfImage

_ENDS_EARLY = 5
"""How many times fewer passes an evaluation usually takes than its bound (measured: 3 to 7)."""


@dataclass(frozen=True)
class StageCost:
    """The largest number of images that go through the model of a stage."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """All passes; a backward pass counts as two forward passes."""
        return self.forward + 2 * self.backward


@dataclass(frozen=True)
class Estimate:
    """A stage, its passes, and the time and memory that they take on this machine.

    ``seconds`` is an upper bound for evaluations, whose attacks end early where they succeed.
    ``bytes`` is the peak of weights, gradients, optimizer state and activations; the data and torch
    itself (about 0.4 GB per process) come on top.
    """

    stage: Stage
    parameters: int
    cost: StageCost
    seconds: float
    bytes: int


def stage_passes(builder: Builder, stage: Stage) -> StageCost:
    """Return the largest number of images that a stage sends through its model."""
    spec = builder.recipe.models[stage.model]
    if stage.kind == "evaluate":
        n = len(builder.test_data)
        searched = _suite_passes(builder, spec, builder.suite(stage.suite), n)
        return StageCost(searched.forward + n, searched.backward)
    if stage.kind == "illustrate":
        return _illustration_passes(builder, spec, stage)
    if not (phase := phase_of(builder.recipe, stage.model, stage.kind)):
        return StageCost(0, 0)
    objective = builder.objective(phase)
    training = objective.passes * _examples(builder, phase.training)
    judged = sum((m.passes + Passes(forward=1) for m in objective.members), Passes())
    total = training + judged * _judged(builder, phase.training)
    return StageCost(total.forward, total.backward)


def _judged(builder: Builder, config: TrainingConfig) -> int:
    """Return how many validation images a training is scored on, under each perturbation."""
    if config.validate_every is None:
        return 0
    times = math.ceil(config.epochs / config.validate_every)
    return times * len(builder.training_data.validation)


def _examples(builder: Builder, config: TrainingConfig) -> int:
    """Return how many examples all steps of a training take."""
    return config.steps(len(builder.training_data.train)) * config.batch_size


def network_passes(builder: Builder, stage: Stage) -> StageCost:
    """Return the largest number of images that a stage sends through single networks.

    What goes through a mixture goes through each of its experts and its gate, unless only the gate
    is asked. A gate that experts joined is two networks; its warm-up asks only one of them.
    """
    cost, alone = stage_passes(builder, stage), _gate_passes(builder, stage)
    networks = networks_of(builder.recipe, stage.model)
    return StageCost(
        networks * (cost.forward - alone.forward) + alone.forward,
        networks * (cost.backward - alone.backward) + alone.backward,
    )


def _gate_passes(builder: Builder, stage: Stage) -> StageCost:
    """Return how many images a stage sends through a gate without the experts."""
    phase = phase_of(builder.recipe, stage.model, stage.kind)
    if not phase or not phase.gate:
        return StageCost(0, 0)
    if phase.gate.inner:  # the attacks are on the gate, too
        return stage_passes(builder, stage)
    objective = builder.objective(phase)
    taught = objective.updates * _examples(builder, phase.training)
    judged = len(objective.members) * _judged(builder, phase.training)
    return StageCost(taught + judged, taught)


def stage_work(builder: Builder, stage: Stage) -> float:
    """Return the usual work of a stage, in forward passes of one network."""
    work = network_passes(builder, stage).total
    return work if stage.makes_a_model else work / _ENDS_EARLY


def _illustration_passes(builder: Builder, spec: AnyModel, stage: Stage) -> StageCost:
    draws = builder.illustrator()
    curves = tuple(row for _, suite in draws.curve_suites().values() for row in suite)
    n = min(draws.examples, len(builder.test_data))
    total = _suite_passes(builder, spec, (*draws.answered, *curves), n)
    # each curve first finds the images that are right unattacked
    total += Passes(forward=n * len(draws.curve_suites()))
    if stage.model == in_pictures(builder.recipe):
        total += _suite_passes(builder, spec, draws.shown, min(draws.pictures, n))
    return StageCost(total.forward, total.backward)


def _suite_passes(builder: Builder, spec: AnyModel, suite: Suite, n: int) -> Passes:
    """Return the largest number of images that a suite sends through a model, for ``n`` images."""
    total = Passes()
    for row in suite:
        attack = row.attack.attack if isinstance(row.attack, SearchAround) else row.attack
        if isinstance(attack, DeepFool) and attack.candidates is None:  # then the classes decide
            attack = replace(attack, candidates=max(2, len(builder.test_data.classes)))
        steered = isinstance(attack, GateSteering) and spec.has_gate
        searches = len(spec.experts) if steered else 1
        total += (attack.passes * searches + Passes(forward=1)) * row.count(n)
    return total


def estimate(recipe: Recipe, device: torch.device) -> list[Estimate]:
    """Return the stages of a recipe with their cost on ``device``, without training anything.

    Every distinct model is built once and timed on a few batches.

    Raises:
        DataError: if the data is missing or wrong.
    """
    builder = Builder.open(recipe, device)
    speeds: dict[tuple[object, ...], Speed] = {}
    with threads(recipe.threads):
        stages = plan_stages(recipe, "", "", builder.opened)
        return [_estimated(builder, stage, speeds) for stage in stages]


def _estimated(builder: Builder, stage: Stage, speeds: dict[tuple[object, ...], Speed]) -> Estimate:
    """Return what a stage costs; what was timed is looked up in ``speeds``, and added to it."""
    model, conditions = _example(builder, stage.model), _conditions(builder, stage)

    def speed_of(part: nn.Module, *shape: object) -> Speed:
        shape = (*shape, conditions.batch, conditions.precision)
        if shape not in speeds:
            speeds[shape] = calibrate(builder, part, conditions.batch, conditions.precision)
        return speeds[shape]

    cost, alone = stage_passes(builder, stage), _gate_passes(builder, stage)
    # in a warm-up only the gate learns; if it is robust, only the gate is attacked
    taught = searched = speed_of(model, *_shape(builder, stage.model))
    if alone.forward and isinstance(model, Mixture):
        taught = speed_of(model.gate, "gate")
        searched = taught if alone == cost else searched
    seconds = (cost.forward - alone.forward) * searched.forward + alone.forward * taught.forward
    seconds += (cost.backward - alone.backward) * searched.backward
    seconds += alone.backward * taught.backward
    seconds += conditions.updates * (taught.update - taught.forward - taught.backward)
    weights = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in ClassOfImage().parameters(model))
    # float32; parameters that learn also have a gradient, momentum, an average and a best copy
    tensors = 4 * (weights + (4 * learning if conditions.updates else 0))
    attack = conditions.batch * searched.attack_bytes
    update = conditions.updates_per_step * taught.update_bytes
    return Estimate(stage, weights, cost, max(seconds, 0.0), round(tensors + max(attack, update)))


@dataclass(frozen=True)
class _Conditions:
    """Batch size and number format of a stage, and how many images its weights learn from."""

    batch: int
    precision: Precision
    updates_per_step: int = 0
    updates: int = 0


def _conditions(builder: Builder, stage: Stage) -> _Conditions:
    if not (phase := phase_of(builder.recipe, stage.model, stage.kind)):
        return _Conditions(builder.recipe.evaluation.batch_size, "fp32")
    updates, config = builder.objective(phase).updates, phase.training
    return _Conditions(
        config.batch_size,
        config.precision,
        updates * config.batch_size,
        updates * _examples(builder, config),
    )


def _shape(builder: Builder, name: str) -> tuple[object, ...]:
    """Return what distinguishes models that differ in speed."""
    spec = builder.recipe.models[name]
    return (spec.kind, spec.origin, *(_shape(builder, expert) for expert in spec.experts))


def _example(builder: Builder, name: str) -> nn.Module:
    """Return an untrained model of the right shape."""
    return builder.ready(builder.untrained(name, lambda expert: _example(builder, expert)))
