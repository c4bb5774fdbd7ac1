"""The training loop: one for every method.

A step draws a batch, lets the objective change it (the inner maximisation, on the frozen model in
evaluation mode), and descends the target's loss on what came back (the outer minimisation):

    min_theta  E [ L(f_theta(x'), y) ],   x' = objective(f_theta, x, y)       (MoRE, equation 1)

Experts, baselines and mixtures differ in objective and target alone. Every draw comes from the seed
and the step's number, so a training that was interrupted goes on with the same bits.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from morex.attacks import Freezer
from morex.core.precision import autocast
from morex.core.seeding import generator_for
from morex.data import Augment, ImageSet
from morex.training.config import TrainingConfig
from morex.training.criteria import ClassOfImage, Target
from morex.training.ema import MovingAverage
from morex.training.objectives import Batch, Objective
from morex.training.state import (
    Checkpoint,
    Snapshot,
    copy_tensors,
    like,
    optimizer_tensors,
    restore_optimizer,
)


@dataclass(frozen=True)
class TrainingData:
    """Where a training learns and where its models are chosen; never the test set."""

    train: ImageSet
    validation: ImageSet
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True)
class Progress:
    """What a training says of itself while it runs; ``loss`` is NaN before the first step."""

    step: int
    epoch: float
    epochs: float
    loss: float
    seconds: float
    validation: float | None


@dataclass(frozen=True)
class Fit:
    """What is known of a training when it is over.

    ``history`` has one entry per epoch: ``epoch``, ``loss`` (mean), ``learning_rate``, and where it
    was validated ``validation`` (accuracy under each member of the objective) and ``score`` (their
    mean). ``seconds`` counts all the time spent on it, across interruptions, from the first step
    on: loading data and libraries is not training.
    """

    history: list[dict[str, Any]]
    seconds: float


class NotFiniteError(RuntimeError):
    """A loss or a weight became infinite or NaN."""


def train(
    model: nn.Module,
    objective: Objective,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int = 0,
    name: str = "model",
    target: Target | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Fit:
    """Train ``model`` in place and leave it, in evaluation mode, as it was best on validation.

    Best is the largest mean accuracy over the objective's own members, attacked as in training.

    Args:
        model: on the device of the data; what is not to learn must have ``requires_grad`` off.
        objective: makes the images to train on.
        data: training and validation images.
        config: the hyperparameters.
        seed: with ``name`` it decides every random draw.
        name: what is being trained, for messages.
        target: what to teach; by default the class of an image.
        checkpoint: where to keep the state, so that an interrupted training can go on.
        report: called at the start and then at most about once a second.

    Returns:
        The history and the time it took.

    Raises:
        NotFiniteError: if a loss or weight becomes infinite or NaN; the last checkpoint stays.
        ValueError: if the training set is smaller than a batch.
    """
    training = _Training(model, objective, data, config, seed, name, target or ClassOfImage())
    saved = checkpoint.load() if checkpoint else None
    if saved:
        training.restore(saved)
    if report:
        report(training.progress())
    last_report = time.monotonic()
    while training.step < training.steps:
        training.advance()
        if training.epoch_ended():
            training.end_epoch()
        if checkpoint and checkpoint.due():
            training.check_finite()
            checkpoint.save(training.snapshot())
        if report and (training.step == training.steps or time.monotonic() - last_report > 1):
            report(training.progress())
            last_report = time.monotonic()
    training.finish()
    return Fit(training.history, training.elapsed())


class _Training:
    """The state of a training and the few things that can be done to it."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: TrainingData,
        config: TrainingConfig,
        seed: int,
        name: str,
        target: Target,
    ) -> None:
        self.model, self.objective, self.data, self.config = model, objective, data, config
        self.frozen = Freezer(model)
        self.seed, self.name, self.target = seed, name, target
        self.device = data.train.device
        self.steps_per_epoch = len(data.train) // config.batch_size
        if not self.steps_per_epoch:
            raise ValueError(
                f"{name}: {len(data.train)} training images are less than a batch of "
                f"{config.batch_size}; lower batch_size"
            )
        self.steps = config.steps(len(data.train))
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.parameters = target.parameters(model)
        self.optimizer = _optimizer(self.parameters, config)
        self.learning = _learning_tensors(model, self.parameters)
        self.average = MovingAverage(self.learning, config.average) if config.average else None
        self.best: dict[str, Tensor] = {}
        self.best_score = -math.inf
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.first_bad = torch.full((), -1, device=self.device)
        self.order = torch.empty(0, dtype=torch.int64)
        self.seconds = 0.0
        self.started = time.monotonic()  # what torch loads for a first optimizer is behind us

    def advance(self) -> None:
        """Take one step."""
        x, y, generator = self._batch()
        with autocast(self.config.precision, self.device), self.frozen():
            batch = self.objective.build(self.model, x, y, self.step, generator)
        self.model.train()
        with autocast(self.config.precision, self.device):
            loss = self.target.loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.step()
        if self.average:
            self.average.update()
        self._watch(loss.detach())
        self.step += 1

    def _batch(self) -> tuple[Tensor, Tensor, torch.Generator]:
        """Return the images and labels of this step, and the step's own generator."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if position == 0 or not len(self.order):
            shuffle = generator_for(self.seed, self.name, "epoch", epoch)
            order = torch.randperm(len(self.data.train), generator=shuffle)
            self.order = order.to(self.device, non_blocking=True)
        rows = self.order[position * self.config.batch_size :][: self.config.batch_size]
        generator = generator_for(self.seed, self.name, "step", self.step, device=self.device)
        x = self.data.augment(self.data.train.pixels(rows), generator)
        return channels_last(x), self.data.train.labels[rows], generator

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step: the schedule's at its middle."""
        progress = (step + 0.5) / self.steps
        return self.config.learning_rate * self.config.factor(progress)

    def _watch(self, loss: Tensor) -> None:
        """Note the loss and the first step at which it was not finite, without waiting for it."""
        self.loss_sum += loss
        bad = ~loss.isfinite() & (self.first_bad < 0)
        self.first_bad = torch.where(bad, self.step, self.first_bad)

    def check_finite(self) -> None:
        """Raise if a loss has been infinite or NaN, or a weight is: what is kept must be good."""
        step = int(self.first_bad)
        what = "loss"
        if step < 0 and not _all_finite(self.learning):  # a finite loss with an infinite gradient
            step, what = self.step - 1, "weights after the update"
        if step >= 0:
            raise NotFiniteError(
                f"{self.name}: not finite: {what} at step {step} of {self.steps} "
                f"(epoch {step // self.steps_per_epoch + 1}, "
                f"learning rate {self.learning_rate(step):.3g}, "
                f"{type(self.objective).__name__} over {len(self.objective.members)} members); "
                "the last checkpoint is kept. Lower learning_rate, set clip_norm, or use fp32; the "
                "training then begins again"
            )

    def epoch_ended(self) -> bool:
        """Say whether the last step closed an epoch."""
        return self.step % self.steps_per_epoch == 0 or self.step == self.steps

    def end_epoch(self) -> None:
        """Write the epoch's history and validate if it is time."""
        self.check_finite()
        epoch = -(-self.step // self.steps_per_epoch)
        steps = self.step - (epoch - 1) * self.steps_per_epoch
        entry: dict[str, Any] = {
            "epoch": epoch,
            "loss": float(self.loss_sum) / steps,
            "learning_rate": self.learning_rate(self.step - 1),
        }
        self.loss_sum.zero_()
        every, last = self.config.validate_every, self.step == self.steps
        if every and (epoch % every == 0 or last):
            with self._averaged():
                accuracies = self._validate()
                entry["validation"] = accuracies
                entry["score"] = sum(accuracies) / len(accuracies)
                self._keep_if_best(entry["score"])
        elif last:
            with self._averaged():
                self._keep()
        self.history.append(entry)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Give the model its averaged weights, where they are kept, for a while."""
        if self.average:
            with self.average.applied():
                yield
        else:
            yield

    def _validate(self) -> list[float]:
        """Return the accuracy on the validation set under every member of the objective."""
        return [self._accuracy(which) for which in range(len(self.objective.members))]

    def _accuracy(self, which: int) -> float:
        data, size = self.data.validation, 2 * self.config.batch_size
        hits = torch.zeros((), dtype=torch.int64, device=self.device)
        place = (self.name, "validation", which)
        generator = generator_for(self.seed, *place, device=self.device)
        member = self.objective.members[which]
        with autocast(self.config.precision, self.device), self.frozen():
            for start in range(0, len(data), size):
                rows = slice(start, start + size)
                x, y = channels_last(data.pixels(rows)), data.labels[rows]
                moved = member.search(self.model, x, y, generator)
                with torch.no_grad():
                    batch = Batch(moved, y, torch.full_like(y, which))
                    hits += self.target.hits(self.model, batch).sum()
        return int(hits) / len(data)

    def _keep_if_best(self, score: float) -> None:
        if score >= self.best_score:  # of equals the one that trained longest
            self.best_score = score
            self._keep()

    def _keep(self) -> None:
        self.best = {name: t.detach().clone() for name, t in self.learning.items()}

    def finish(self) -> None:
        """Give the model the best weights and put it in evaluation mode."""
        copy_tensors(self.best, self.learning)
        self.model.eval()

    def progress(self) -> Progress:
        """Return how far the training is."""
        position = self.step % self.steps_per_epoch
        loss = self.history[-1]["loss"] if self.history else math.nan
        if position:
            loss = float(self.loss_sum) / position
        scores = [entry["score"] for entry in self.history if "score" in entry]
        return Progress(
            step=self.step,
            epoch=self.step / self.steps_per_epoch,
            epochs=self.config.epochs,
            loss=loss,
            seconds=self.elapsed(),
            validation=scores[-1] if scores else None,
        )

    def elapsed(self) -> float:
        """Return the seconds spent so far, those before an interruption included."""
        return self.seconds + time.monotonic() - self.started

    def snapshot(self) -> Snapshot:
        """Return everything that the rest of the training depends on."""
        tensors = {f"model/{name}": t for name, t in self.learning.items()}
        tensors |= {f"best/{name}": t for name, t in self.best.items()}
        tensors["loss_sum"] = self.loss_sum
        if self.average:
            tensors |= {f"average/{name}": t for name, t in self.average.shadow.items()}
        tensors |= optimizer_tensors(self.optimizer)
        values = {
            "step": self.step,
            "history": [*self.history],
            "best_score": self.best_score if math.isfinite(self.best_score) else None,
            "average_updates": self.average.updates if self.average else 0,
            "seconds": self.elapsed(),
        }
        return Snapshot(tensors, values)

    def restore(self, saved: Snapshot) -> None:
        """Go back to the state of a snapshot."""
        copy_tensors(saved.part("model"), self.learning)
        restore_optimizer(self.optimizer, saved)
        self.loss_sum.copy_(saved.tensors["loss_sum"])
        if self.average:
            copy_tensors(saved.part("average"), self.average.shadow)
            self.average.updates = saved.values["average_updates"]
        self.best = {
            name: like(t, self.learning[name].detach()) for name, t in saved.part("best").items()
        }
        best_score = saved.values["best_score"]
        self.best_score = -math.inf if best_score is None else best_score
        self.step, self.history = saved.values["step"], [*saved.values["history"]]
        self.seconds, self.started = saved.values["seconds"], time.monotonic()


def channels_last(x: Tensor) -> Tensor:
    """Return images with their channels innermost in memory, the faster layout everywhere."""
    return x.contiguous(memory_format=torch.channels_last)


def _optimizer(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.SGD(
        parameters,
        config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


def _learning_tensors(model: nn.Module, parameters: list[nn.Parameter]) -> dict[str, Tensor]:
    """Return what training changes, by name: the parameters that learn, and all buffers."""
    chosen = {id(p) for p in parameters}
    learning: dict[str, Tensor] = {n: p for n, p in model.named_parameters() if id(p) in chosen}
    learning.update(model.named_buffers())
    return learning


def _all_finite(tensors: dict[str, Tensor]) -> bool:
    return bool(torch.stack([t.isfinite().all() for t in tensors.values()]).all())
