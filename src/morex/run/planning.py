"""What a run will cost: passes per stage, and time and memory from a short calibration."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from morex.attacks import Passes, frozen
from morex.precision import Precision, autocast
from morex.recipe import Recipe
from morex.recipe.schema import MixtureModel, NetworkModel, UngatedModel, parents
from morex.run.build import Workshop
from morex.run.cores import threads
from morex.run.stages import Stage, plan_stages
from morex.targets import ClassOfImage
from morex.training import channels_last

_LONG_ENOUGH = 0.2
"""Seconds of a backward pass from which on more images do not make its timing better."""


_ENDS_EARLY = 5
"""By what the passes of an evaluation usually stay below their bound (measured: 3 to 7)."""


@dataclass(frozen=True)
class StageCost:
    """How many images go through the model of a stage, at most."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """All passes, weighing a backward pass as two forward ones."""
        return self.forward + 2 * self.backward


@dataclass(frozen=True)
class Estimate:
    """A stage, what it costs, and what that means on this machine.

    ``seconds`` is an upper bound for evaluations, whose attacks end early where they succeed.
    ``bytes`` is the peak of weights, gradients, optimizer state and activations.
    """

    stage: Stage
    parameters: int
    cost: StageCost
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Speed:
    """Seconds per image of a model on this machine, and what its activations take."""

    forward: float
    backward: float
    activations: int


def stage_passes(workshop: Workshop, stage: Stage) -> StageCost:
    """Return how many images a stage sends through its model, at most."""
    spec = workshop.recipe.models[stage.model]
    if stage.kind == "evaluate":
        return _evaluation_passes(workshop)
    if isinstance(spec, UngatedModel):
        return StageCost(0, 0)
    objective, data = workshop.objective(spec), workshop.training_data
    config = spec.training
    if stage.kind == "gate" and isinstance(spec, MixtureModel) and spec.gate_warmup:
        config = spec.gate_warmup
    steps = len(data.train) // config.batch_size * config.epochs
    training = objective.passes * (steps * config.batch_size)
    validations = -(-config.epochs // config.validate_every)
    judged = sum((m.passes + Passes(forward=1) for m in objective.members), Passes())
    total = training + judged * (validations * len(data.validation))
    return StageCost(total.forward, total.backward)


def network_passes(workshop: Workshop, stage: Stage) -> StageCost:
    """Return how many images a stage sends through single networks, at most.

    A mixture counts each of its experts, and its gate.
    """
    spec = workshop.recipe.models[stage.model]
    networks = 1
    if not isinstance(spec, NetworkModel):
        networks = len(spec.experts) + isinstance(spec, MixtureModel)
    cost = stage_passes(workshop, stage)
    return StageCost(networks * cost.forward, networks * cost.backward)


def stage_work(workshop: Workshop, stage: Stage) -> float:
    """Return the usual work of a stage, in forward passes of one network."""
    work = network_passes(workshop, stage).total
    return work / _ENDS_EARLY if stage.kind == "evaluate" else work


def _evaluation_passes(workshop: Workshop) -> StageCost:
    n = len(workshop.test_data)
    total = Passes(forward=n)
    for row in workshop.suite():
        total += (row.attack.passes + Passes(forward=1)) * min(row.examples or n, n)
    return StageCost(total.forward, total.backward)


def estimate(recipe: Recipe, device: torch.device) -> list[Estimate]:
    """Return the stages of a recipe with their cost on ``device``, without training anything.

    Every distinct model is built once and timed on a few batches.

    Raises:
        DataError: if the data is missing or wrong.
    """
    workshop = Workshop.open(recipe, device)
    speeds: dict[tuple[object, ...], Speed] = {}
    with threads(recipe.threads):
        return [_estimated(workshop, stage, speeds) for stage in plan_stages(recipe, "", "")]


def _estimated(
    workshop: Workshop, stage: Stage, speeds: dict[tuple[object, ...], Speed]
) -> Estimate:
    """Return what a stage costs; ``speeds`` has what was timed for the stages before."""
    model = _example(workshop, stage.model)
    batch, precision = _conditions(workshop.recipe, stage)
    shape = (*_shape(workshop, stage.model), batch, precision)
    if shape not in speeds:
        speeds[shape] = _calibrate(workshop, model, batch, precision)
    speed = speeds[shape]
    cost = stage_passes(workshop, stage)
    weights = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in ClassOfImage().parameters(model))
    # float32 weights; of what learns also gradient, momentum, average and the best so far
    tensors = 4 * (weights + (4 * learning if stage.kind != "evaluate" else 0))
    return Estimate(
        stage,
        weights,
        cost,
        cost.forward * speed.forward + cost.backward * speed.backward,
        tensors + speed.activations,
    )


def _conditions(recipe: Recipe, stage: Stage) -> tuple[int, Precision]:
    """Return the batch size and number format in which a stage works."""
    spec = recipe.models[stage.model]
    if stage.kind == "evaluate" or isinstance(spec, UngatedModel):
        return recipe.evaluation.batch_size, "fp32"
    return spec.training.batch_size, spec.training.precision


def _shape(workshop: Workshop, name: str) -> tuple[object, ...]:
    """Return what distinguishes models that differ in speed."""
    spec = workshop.recipe.models[name]
    return ("network",) if isinstance(spec, NetworkModel) else (spec.kind, len(spec.experts))


def _example(workshop: Workshop, name: str) -> nn.Module:
    """Return an untrained model of the right shape."""
    spec = workshop.recipe.models[name]
    if isinstance(spec, NetworkModel):
        return workshop.ready(workshop.network(name))
    experts: dict[str, nn.Module] = {n: workshop.network(n) for n in parents(spec)}
    if isinstance(spec, MixtureModel):
        return workshop.ready(workshop.mixture(name, experts))
    return workshop.ready(workshop.ungated(spec, experts))


def _calibrate(workshop: Workshop, model: nn.Module, batch: int, precision: Precision) -> Speed:
    """Time a model forward and backward to the input, on few images if it is slow at them.

    The number of images is doubled up to a batch, or until a backward pass takes long enough to be
    timed well: a large model's whole batch may need more memory than planning should.
    """
    images = workshop.training_data.train
    with autocast(precision, workshop.device), frozen(model):
        few, more = (_held(model, channels_last(images.pixels(slice(0, n)))) for n in (2, 4))
        size = min(2, batch)
        while True:
            x = channels_last(images.pixels(slice(0, size)))
            together = _seconds(partial(_backward, model, x), workshop.device)
            if together > _LONG_ENOUGH or size >= min(batch, len(images)):
                break
            size = min(2 * size, batch)
        alone = _seconds(partial(_forward, model, x), workshop.device)
    per_image = alone / len(x), max(together - alone, 0.0) / len(x)
    return Speed(*per_image, activations=(more - few) * batch // 2)


def _forward(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def _backward(model: nn.Module, x: Tensor) -> None:
    moved = x.detach().requires_grad_()
    torch.autograd.grad(model(moved).float().sum(), moved)


def _held(model: nn.Module, x: Tensor) -> int:
    """Return the bytes that a forward pass keeps for the backward pass."""
    held = 0

    def hold(tensor: Tensor) -> Tensor:
        nonlocal held
        held += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        model(x.detach().requires_grad_())
    return held


def _seconds(work: Callable[[], None], device: torch.device, repeats: int = 3) -> float:
    """Return the shortest time of a few repeats, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])
