"""The training step of every method: find x', then descend the loss on it.

    min_theta  E [ L(f_theta(x'), y) ],   x' = objective(f_theta, x, y)       (MoRE, equation 1)

Everything here happens on the device of the images, which the host never asks for a number. So a
GPU can repeat the step as a graph (``execution``).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from morex.attacks import Freezer
from morex.core.precision import Precision, autocast
from morex.core.shards import of_shard
from morex.models.in_place import images_for
from morex.training.awp import WeightPerturbation
from morex.training.criteria import Criterion
from morex.training.natural import NaturalTraining
from morex.training.objectives import Batch, Objective
from morex.training.state import TrainingState
from morex.training.world import ALONE, World


class TrainingStep:
    """A step of a training.

    Args:
        model: f, which is trained in place.
        objective: the inner maximisation.
        criterion: L.
        state: the parameters that learn, their optimizer and their averages.
        precision: number format of the passes.
        clip_norm: largest L2 norm of the gradient; longer ones are scaled down.
        awp: perturbs the weights; None if nothing does.
        warm_up: the number of steps before it does.
        world: the processes that each have a shard of the batch.
        images: the number of images in the whole batch.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        criterion: Criterion,
        state: TrainingState,
        *,
        precision: Precision,
        clip_norm: float | None,
        awp: WeightPerturbation | None = None,
        warm_up: int = 0,
        world: World = ALONE,
        images: int = 0,
    ) -> None:
        self.model, self.objective, self.criterion = model, objective, criterion
        self.state, self.precision, self.clip_norm = state, precision, clip_norm
        self.awp, self.warm_up = awp, warm_up
        self.world, self.images = world, images
        self._frozen = Freezer(model)

    def variant(self, step: int, turn: int) -> int:
        """Return which variant of the step a step is: the objective's, and with AWP or without."""
        return 2 * turn + (step >= self.warm_up) if self.awp else turn

    def __call__(self, x: Tensor, y: Tensor, variant: int, generator: torch.Generator) -> None:
        """Take the step on images x and labels y; ``variant`` is one that ``variant`` returns."""
        turn, perturbed = divmod(variant, 2) if self.awp else (variant, 0)
        clean = images_for(self.model, x) if self.state.natural else x  # x' may be x
        batch = self.inner_maximisation(x, y, turn, generator)
        self.descend(batch, self.awp if perturbed else None)
        if self.state.natural:
            self.descend_naturally(self.state.natural, clean, y)

    def inner_maximisation(
        self, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return x' and y, as the objective makes them on the frozen model in evaluation mode."""
        with self._autocast(x), self._frozen(), of_shard(self.world.shard(self.images)):
            return self.objective.build(self.model, x, y, turn, generator)

    def descend(self, batch: Batch, awp: WeightPerturbation | None) -> None:
        """Take a step of the optimizer down the gradient of L(f(x'), y).

        Args:
            batch: x', y.
            awp: moves the weights to where L is larger while the gradient is computed; None to
                leave them as they are.
        """
        state = self.state
        self.model.train()
        with awp(partial(self._loss, batch)) if awp else nullcontext():
            loss = self._loss(batch)
            self._differentiate(loss, state.optimizer)
        counts = state.counts(batch.member, batch.wrong)
        total = self.world.join(state.parameters, loss.detach(), counts)
        self._update(state.optimizer, state.parameters)
        state.end_step(total, counts)

    def descend_naturally(self, natural: NaturalTraining, x: Tensor, y: Tensor) -> None:
        """Take the step of a natural training beside this one: down the gradient of L(f(x), y)."""
        with self._autocast(x):
            loss = self.world.weighted(natural.loss(x, y), self.images)
        self._differentiate(loss, natural.optimizer)
        self.world.add_up(p.grad for p in natural.parameters)
        self._update(natural.optimizer, natural.parameters)

    def _differentiate(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]

    def _update(self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        optimizer.step()

    def _loss(self, batch: Batch) -> Tensor:
        if self.awp:  # needs all images twice
            clean = None if batch.clean is None else images_for(self.model, batch.clean)
            batch = replace(batch, x=images_for(self.model, batch.x), clean=clean)
        with self._autocast(batch.x):
            return self.world.weighted(self.criterion.loss(self.model, batch), self.images)

    def _autocast(self, x: Tensor) -> AbstractContextManager[None]:
        return autocast(self.precision, x.device)
