"""How long the stages of a recipe take on this machine, and how much memory, before any of them.

Each kind of network is timed once, on a few images. A mixture takes as long as its experts and its
gate together, so a recipe with many mixtures takes no longer to estimate than one with none.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import nn

from morex.core.precision import Precision, resolved
from morex.core.threads import threads, threads_for
from morex.evaluation.settings import Settings
from morex.models.compiled import is_long_enough
from morex.models.mixture import Ensemble, Mixture
from morex.recipe import Recipe
from morex.recipe.phases import phase_of
from morex.run.builder import Builder
from morex.run.calibration import Speed, Way, calibrate, held_bytes
from morex.run.costs import StageCost, gate_passes, passes_in_float32, stage_passes, updates
from morex.run.forecast import Gpu, forecast
from morex.run.gpu_setup import Setups, searched_together
from morex.run.parts import most_parts
from morex.run.stages import Stage, plan_stages
from morex.training.criteria import ClassOfImage

Report = Callable[[float, str], None]
"""Called with the share of the work that is done, in [0, 1], and with what is being done now."""

USUAL_SHARE = 0.45
"""The share of its bound that the time of an evaluation usually is (measured on digits: 0.40 and
0.49). That of its passes is lower, but the small batches that remain take longer for each image."""

_BATCH_ON_GPU = 1000
"""How many images are attacked at a time on a GPU with 40 GB, if the recipe leaves it to it."""

_READING = 0.3
"""The share of an estimate that reading the data takes, roughly."""


@dataclass(frozen=True)
class Estimate:
    """A stage, its passes, and the time and memory that they take on this machine.

    ``seconds`` is an upper bound for evaluations, whose attacks end early where they succeed;
    ``usual_seconds`` is what they usually take.
    ``bytes`` is the peak of weights, gradients, optimizer state and activations; the data and torch
    itself (about 0.4 GB per process) come on top. ``parts`` is into how many parts an evaluation
    may be cut.
    """

    stage: Stage
    parameters: int
    cost: StageCost
    seconds: float
    usual_seconds: float
    bytes: int
    parts: int = 1


def _silent(share: float, doing: str) -> None:
    """Report nothing."""


def estimate(
    recipe: Recipe, device: torch.device, report: Report = _silent, gpu: Gpu | None = None
) -> list[Estimate]:
    """Return the stages of a recipe with their cost on ``device``, without training anything.

    Args:
        recipe: what would be done.
        device: where.
        report: called before the data is read, and before each model is timed.
        gpu: a GPU that is not here; nothing is timed, and its figures are used.

    Raises:
        DataError: if the data is missing or wrong.
        ValueError: if there is no forecast for the recipe's networks on ``gpu``.
    """
    report(0.0, "reading the data")
    builder = (Builder if gpu is None else _ForGpu).open(recipe, device)
    with threads(recipe.threads):
        stages = plan_stages(recipe, "", "", builder.opened, settings=builder.settings)
        timer, found = _Timer(builder, gpu), dict[str, Estimate]()
        names = list(dict.fromkeys(stage.model for stage in stages))
        for number, name in enumerate(names):
            report(_READING + (1 - _READING) * number / len(names), f"timing {name}")
            its = [stage for stage in stages if stage.model == name]
            found |= {one.stage.id: one for one in _estimated(timer, name, its)}
    return [found[stage.id] for stage in stages]


def largest_memory(builder: Builder) -> int:
    """Return the bytes of the stage that needs most, without timing anything."""
    timer = _Timer(builder, memory_only=True)
    names = list(dict.fromkeys(stage.model for stage in builder.stages.values()))
    its = {name: [s for s in builder.stages.values() if s.model == name] for name in names}
    return max(one.bytes for name in names for one in _estimated(timer, name, its[name]))


class _ForGpu(Builder):
    """Builds for a GPU that is not here, with the settings that evaluations would have there."""

    @cached_property
    def settings(self) -> Settings:
        """The settings of evaluations on a large GPU."""
        wanted, seed = self.recipe.evaluation, self.recipe.seed
        size = _BATCH_ON_GPU if wanted.batch_size == "auto" else wanted.batch_size
        return Settings(seed, size, "fp32" if wanted.search_precision == "fp32" else "bf16")


@dataclass(frozen=True)
class _Conditions:
    """Batch size and number format of a stage, and how many images its weights learn from."""

    batch: int
    precision: Precision
    updates_per_step: int = 0
    updates: int = 0
    way: Way = "called"


@dataclass(frozen=True)
class _Timer:
    """Times models. Networks that differ in their outputs only are timed once per condition."""

    builder: Builder
    gpu: Gpu | None = None
    memory_only: bool = False
    known: dict[tuple[object, ...], Speed] = field(default_factory=dict)
    setups: Setups = field(default_factory=Setups)

    @property
    def on_gpu(self) -> bool:
        """Whether the steps of trainings are captured."""
        return self.gpu is not None or self.builder.device.type == "cuda"

    def precision(self, its: _Conditions) -> Precision:
        """Return the number format of a stage."""
        if self.gpu and its.precision == "auto":
            return "bf16"
        return resolved(its.precision, self.builder.device)

    def speed(self, model: nn.Module, its: _Conditions) -> Speed:
        """Return the speed of a model; that of an ensemble is the sum of its networks."""
        if not isinstance(model, Ensemble):
            return self._of_network(model, its)
        experts = [self._of_network(expert, its) for expert in model.experts]
        gates = [self._of_network(model.gate, its)] if isinstance(model, Mixture) else []
        return Speed.together(experts, gates)

    def _of_network(self, network: nn.Module, its: _Conditions) -> Speed:
        precision = self.precision(its)
        learning = sum(p.requires_grad for p in network.parameters()) if its.updates else 0
        key = (_layers(network), learning, its.batch, precision, its.way, torch.get_num_threads())
        if key not in self.known:
            self.known[key] = self._timed(network, its.batch, precision, its.way)
        return self.known[key]

    def _timed(self, network: nn.Module, batch: int, precision: Precision, way: Way) -> Speed:
        if self.memory_only:
            return Speed(0, 0, 0, *held_bytes(self.builder, network, precision))
        if self.gpu:
            return forecast(self.gpu, self.builder, network, batch, precision, way)
        if way == "called":
            return calibrate(self.builder, network, batch, precision)
        return calibrate(self.builder, network, batch, precision, way)


def _layers(network: nn.Module) -> str:
    """Return all layers of a network in words, but not how many logits it has.

    A gate then counts as an expert. The width of a hidden layer is still in the layer after it.
    """
    return re.sub(r"out_features=\d+", "", repr(network))


def _estimated(timer: _Timer, name: str, stages: list[Stage]) -> Iterator[Estimate]:
    """Yield what the stages of one model cost."""
    builder, model = timer.builder, _example(timer.builder, name)
    for stage in stages:
        its = _conditions(builder, stage)
        if timer.on_gpu:
            its = _on_gpu(builder, model, stage, its)
        with threads_for(model, (its.batch, *builder.data.train.shape), builder.device):
            yield _of_stage(timer, model, stage, its)


def _of_stage(timer: _Timer, model: nn.Module, stage: Stage, its: _Conditions) -> Estimate:
    cost = stage_passes(timer.builder, stage)
    alone = gate_passes(timer.builder, stage)
    taught = searched = timer.speed(model, its)
    if alone.forward and isinstance(model, Mixture):
        # in a warm-up only the gate learns; if it is robust, only the gate is attacked
        taught = timer.speed(model.gate, its)
        searched = taught if alone == cost else searched
    seconds = (cost.forward - alone.forward) * searched.forward + alone.forward * taught.forward
    seconds += (cost.backward - alone.backward) * searched.backward
    seconds += alone.backward * taught.backward
    seconds += its.updates * (taught.update - taught.forward - taught.backward)
    seconds += its.updates * _seconds_of_teacher(timer, stage, its)
    bound = seconds + _seconds_in_float32(timer, model, stage, its)
    if stage.makes_a_model:
        bound = usual = bound + _seconds_of_setup(timer, model, stage, its, bound)
    else:
        slow = _seconds_in_float32(timer, model, stage, its, usual=True)
        usual = USUAL_SHARE * (seconds + slow)
    weights = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in ClassOfImage().parameters(model))
    # float32; parameters that learn also have a gradient, momentum, an average and a best copy
    tensors = 4 * (weights + (4 * learning if its.updates else 0))
    attack, update = its.batch * searched.attack_bytes, its.updates_per_step * taught.update_bytes
    needed = round(tensors + max(attack, update))
    return Estimate(
        stage,
        weights,
        cost,
        max(bound, 0.0),
        max(usual, 0.0),
        needed,
        most_parts(timer.builder, stage),
    )


def _seconds_of_teacher(timer: _Timer, stage: Stage, its: _Conditions) -> float:
    """Return how long a teacher takes to answer one image; 0 without one."""
    phase = phase_of(timer.builder.recipe, stage.model, stage.kind)
    if not phase or not phase.teacher:
        return 0
    return timer.speed(_example(timer.builder, phase.teacher), its).forward


def _seconds_in_float32(
    timer: _Timer, model: nn.Module, stage: Stage, its: _Conditions, *, usual: bool = False
) -> float:
    """Return how much longer attacks take that see the model in float32 where others do not."""
    if stage.kind != "evaluate" or timer.precision(its) == "fp32":
        return 0
    cost, fast = passes_in_float32(timer.builder, stage, usual=usual), timer.speed(model, its)
    slow = timer.speed(model, replace(its, precision="fp32"))
    return cost.forward * (slow.forward - fast.forward) + cost.backward * (
        slow.backward - fast.backward
    )


def _on_gpu(builder: Builder, model: nn.Module, stage: Stage, its: _Conditions) -> _Conditions:
    """Return how the steps of a stage are executed on a GPU, and on how many images at a time."""
    if not (phase := phase_of(builder.recipe, stage.model, stage.kind)):
        return its
    objective, steps = builder.objective(phase), its.updates / max(its.updates_per_step, 1)
    cost = objective.passes
    passes = steps * (cost.forward + cost.backward + objective.updates)
    images = (its.batch, *builder.data.train.shape)
    way: Way = "compiled" if is_long_enough(model, images, passes) else "captured"
    return replace(its, way=way, batch=searched_together(objective, its.batch))


def _seconds_of_setup(
    timer: _Timer, model: nn.Module, stage: Stage, its: _Conditions, seconds: float
) -> float:
    """Return how long a training on a GPU takes before its first step."""
    phase = phase_of(timer.builder.recipe, stage.model, stage.kind)
    if not phase or not timer.on_gpu:
        return 0
    kinds = 2 if isinstance(model, Mixture) else 1
    step = seconds * its.updates_per_step / max(its.updates, 1)
    return timer.setups.seconds(phase, timer.builder.objective(phase), kinds, its.way, step)


def _conditions(builder: Builder, stage: Stage) -> _Conditions:
    if not (phase := phase_of(builder.recipe, stage.model, stage.kind)):
        settings = builder.settings
        return _Conditions(settings.batch_size, settings.search_precision)
    images, config = builder.objective(phase).updates * phase.images, phase.training
    return _Conditions(
        config.batch_size,
        config.precision,
        images * config.batch_size,
        round(updates(builder, phase)),
    )


def _example(builder: Builder, name: str) -> nn.Module:
    """Return an untrained model of the right shape."""
    return builder.ready(builder.untrained(name, partial(_example, builder)))
