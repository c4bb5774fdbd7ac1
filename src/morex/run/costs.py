"""What a run will cost: how many images each stage sends through its model."""

import math
from dataclasses import dataclass, replace

from morex.attacks import Attack, DeepFool, Passes
from morex.evaluation.suite import Suite
from morex.evaluation.workload import most_passes
from morex.recipe.illustrated import in_pictures
from morex.recipe.lineage import networks_of, weighted_experts
from morex.recipe.models import SparseModel
from morex.recipe.phases import Phase, phase_of
from morex.run.builder import Builder
from morex.run.stages import Stage
from morex.training.config import TrainingConfig
from morex.training.objectives import UPDATE, Objective

_ENDS_EARLY = 5
"""How many times fewer passes an evaluation usually takes than its bound (measured: 3 to 7)."""

_WALK = 4
"""Linearisations after which DeepFool usually has no image left. On average an image takes 1.4 to
1.9 (measured on cifar10-small, with the images that are wrong from the start)."""


@dataclass(frozen=True)
class StageCost:
    """The largest number of images that go through the model of a stage."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """All passes; a backward pass counts as two forward passes."""
        return self.forward + 2 * self.backward


def passes_in_float32(builder: Builder, stage: Stage, *, usual: bool = False) -> StageCost:
    """Return the part of an evaluation's passes in which attacks see the model in float32.

    Args:
        builder: of the recipe.
        stage: the stage; the cost is 0 if it is no evaluation.
        usual: whether to end DeepFool's walks where they usually end, far below their bound.
    """
    suite = builder.suite(stage.suite) if stage.kind == "evaluate" else ()
    rows = tuple(row for row in suite if builder.settings.searched_in(row.attack) == "fp32")
    if usual:
        rows = tuple(replace(row, attack=_usual(row.attack)) for row in rows)
    found = _suite_passes(builder, stage.model, rows, len(builder.test_data))
    return StageCost(found.forward, found.backward)


def _usual(attack: Attack) -> Attack:
    """Return ``attack`` with the number of steps that it usually needs at most."""
    if isinstance(attack, DeepFool):
        return replace(attack, steps=min(attack.steps, _WALK))
    return attack


def stage_passes(builder: Builder, stage: Stage) -> StageCost:
    """Return the largest number of images that a stage sends through its model."""
    if stage.kind == "evaluate":
        n = len(builder.test_data)
        searched = _suite_passes(builder, stage.model, builder.suite(stage.suite), n)
        return StageCost(searched.forward + n, searched.backward)
    if stage.kind == "illustrate":
        return _illustration_passes(builder, stage)
    if not (phase := phase_of(builder.recipe, stage.model, stage.kind)):
        return StageCost(0, 0)
    objective = builder.objective(phase)
    number = examples(builder, phase.training)
    more = updates(builder, phase) - objective.updates * number
    natural = number if phase.training.gradient_projection else 0
    training = objective.passes * number + UPDATE * (more + natural)
    judged = sum((m.passes + Passes(forward=1) for m in _judges(objective)), Passes())
    total = training + judged * _judged(builder, phase.training)
    return StageCost(total.forward, total.backward)


def _judges(objective: Objective) -> list[Attack]:
    """Return the searches of a validation: what judges each member, and single steps."""
    judges = [member.judge for member in objective.members]
    single = any(member.takes_single_step for member in objective.members)
    return [*judges, *objective.members] if single else judges


def _judged(builder: Builder, config: TrainingConfig) -> int:
    """Return how many validation images a training is scored on, under each perturbation."""
    if config.validate_every is None:
        return 0
    times = math.ceil(config.epochs / config.validate_every)
    return times * len(builder.training_data.validation)


def examples(builder: Builder, config: TrainingConfig) -> int:
    """Return how many examples all steps of a training take."""
    return config.steps(images_per_epoch(builder, config)) * config.batch_size


def images_per_epoch(builder: Builder, config: TrainingConfig) -> int:
    """Return how many images an epoch has, extra ones included."""
    return builder.training_data.images_per_epoch(config.batch_size)


def updates(builder: Builder, phase: Phase) -> float:
    """Return how many images all updates of a training send through the model, and back."""
    images = builder.objective(phase).updates * phase.images
    times = phase.training.passes_of_update(images_per_epoch(builder, phase.training))
    return images * times * examples(builder, phase.training)


def network_passes(builder: Builder, stage: Stage) -> StageCost:
    """Return the largest number of images that a stage sends through single networks.

    What goes through a mixture goes through each of its experts and its gate, unless only the gate
    is asked. A gate that experts joined is two networks; its warm-up asks only one of them. The
    answers of a teacher count as well.
    """
    cost, alone = stage_passes(builder, stage), gate_passes(builder, stage)
    networks = networks_of(builder.recipe, stage.model)
    taught = teacher_passes(builder, stage)
    return StageCost(
        networks * (cost.forward - alone.forward) + alone.forward + taught,
        networks * (cost.backward - alone.backward) + alone.backward,
    )


def teacher_passes(builder: Builder, stage: Stage) -> float:
    """Return how many images a stage sends through the networks of a teacher."""
    phase = phase_of(builder.recipe, stage.model, stage.kind)
    if not phase or not phase.teacher:
        return 0
    return networks_of(builder.recipe, phase.teacher) * updates(builder, phase)


def gate_passes(builder: Builder, stage: Stage) -> StageCost:
    """Return how many images a stage sends through a gate without the experts."""
    phase = phase_of(builder.recipe, stage.model, stage.kind)
    if not phase or not phase.gate:
        return StageCost(0, 0)
    if phase.gate.inner:  # the attacks are on the gate, too
        return stage_passes(builder, stage)
    objective = builder.objective(phase)
    taught = updates(builder, phase)
    judged = len(_judges(objective)) * _judged(builder, phase.training)
    return StageCost(taught + judged, taught)


def stage_work(builder: Builder, stage: Stage) -> float:
    """Return the usual work of a stage, in forward passes of one network."""
    work = network_passes(builder, stage).total
    return work if stage.makes_a_model else work / _ENDS_EARLY


def _illustration_passes(builder: Builder, stage: Stage) -> StageCost:
    draws = builder.illustrator()
    curves = tuple(row for _, suite in draws.curve_suites().values() for row in suite)
    n = min(draws.examples, len(builder.test_data))
    total = _suite_passes(builder, stage.model, (*draws.answered, *curves), n)
    # each curve first finds the images that are right unattacked
    total += Passes(forward=n * len(draws.curve_suites()))
    if stage.model == in_pictures(builder.recipe):
        total += _suite_passes(builder, stage.model, draws.shown, min(draws.pictures, n))
    return StageCost(total.forward, total.backward)


def _suite_passes(builder: Builder, name: str, suite: Suite, n: int) -> Passes:
    """Return the largest number of images that a suite sends through a model, for ``n`` images."""
    experts, classes = len(weighted_experts(builder.recipe, name)), len(builder.test_data.classes)
    sparse = isinstance(builder.recipe.models[name], SparseModel)
    total = Passes()
    for row in suite:
        total += most_passes(row.attack, experts, classes, sparse=sparse) * row.count(n)
    return total
