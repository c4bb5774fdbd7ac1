"""The training loop: one for every method.

    min_theta  E [ L(f_theta(x'), y) ],   x' = objective(f_theta, x, y)       (MoRE, equation 1)

A step draws a batch. The objective changes it (the inner maximisation, on the frozen model in
evaluation mode), and the step descends the loss of the criterion on what came back (the outer
minimisation). Experts, baselines and mixtures differ in objective and criterion only. The step
itself is in ``step``; ``execution`` decides whether it is called or captured as a graph of a GPU.

Every draw depends only on the seed and the number of the step, so an interrupted training resumes
with the same bits.
"""

import math
import time
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from torch import nn

from morex.core.precision import default_settings
from morex.core.threads import threads_for
from morex.models.compiled import compiled_if_it_pays, compiling_nothing
from morex.training.awp import WeightPerturbation
from morex.training.batch_norm import over_processes
from morex.training.batches import Batches, TrainingData
from morex.training.config import TrainingConfig
from morex.training.criteria import ClassOfImage, Criterion
from morex.training.execution import Recorder, executed, fastest_convolutions, recorder_on
from morex.training.objectives import Objective
from morex.training.reports import Fit, NotFiniteError, Progress
from morex.training.resume import check_resumable, fingerprint
from morex.training.state import Checkpoint, Snapshot, TrainingState
from morex.training.step import TrainingStep
from morex.training.together import SharedCheckpoint, check_alike, check_divisible
from morex.training.validation import Validation
from morex.training.world import ALONE, World, among

_MEASURES_ERRORS = 32
"""The number of steps after which an objective that goes by errors hears of them again."""


def train(
    model: nn.Module,
    objective: Objective,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int = 0,
    name: str = "model",
    criterion: Criterion | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] = warnings.warn,
    world: World = ALONE,
) -> Fit:
    """Train ``model`` in place; leave it in evaluation mode, with its best weights on validation.

    The best weights are those with the largest mean accuracy over the members of the objective,
    attacked as in training, or with PGD if the training takes a single step. Settings of PyTorch at
    the place of the call, such as autocast and inference mode, do not reach the training; its
    number format is ``config.precision``. A small model on a CPU trains with one thread, unless you
    chose a number (``morex.core.threads``).

    Args:
        model: on the device of the data; parameters that must not learn have ``requires_grad`` off.
        objective: makes the images to train on.
        data: training and validation images.
        config: the hyperparameters.
        seed: with ``name`` it decides every random draw.
        name: what is being trained, for messages.
        criterion: what the model is to learn; by default the class of an image.
        checkpoint: where to keep the state, so that an interrupted training can resume, with the
            same data, objective, criterion, settings, seed and name.
        report: called at the start, then at most about once a second, and at the end.
        notice: receives a sentence if a GPU trains more slowly than it could; a warning by default.
        world: the processes that train this model together, each of which makes this call with the
            same arguments. Each has a shard of every batch, so the batch size stays that of the
            settings. The first process alone uses ``checkpoint``.

    Returns:
        The history and the time that the training took.

    Raises:
        NotFiniteError: if a loss or weight becomes infinite or NaN; the last checkpoint stays.
        CheckpointError: if the checkpoint is of another training.
        ValueError: if the training set is smaller than a batch, the criterion does not go with the
            objective or the hyperparameters, or several processes cannot divide the training.
    """
    images, device = len(world.rows(config.batch_size)), data.train.device
    batch = (images, *data.train.shape)
    with threads_for(model, batch, device), default_settings(device), fastest_convolutions(device):
        training = Training(
            model,
            objective,
            data,
            config,
            criterion or ClassOfImage(),
            seed=seed,
            name=name,
            notice=notice,
            world=world,
        )
        if world.several:
            if device.type == "cuda":
                notice("several processes: no step is captured and no network compiled, so far")
            with over_processes(training.models, world), among(world):
                return _finish(training, SharedCheckpoint(checkpoint, world), report)
        with compiled_if_it_pays(model, batch, training.passes, notice):
            return _finish(training, checkpoint, report)


def _finish(
    training: "Training",
    checkpoint: Checkpoint | None,
    report: Callable[[Progress], None] | None,
) -> Fit:
    """Take all remaining steps, and return the best weights to the model."""
    state = training.state
    if checkpoint:
        training.resume(checkpoint)
    if report:
        report(training.progress())
    last_report = time.monotonic()
    while state.step < training.steps:
        training.advance()
        if training.epoch_ended():
            training.end_epoch()
        if checkpoint and checkpoint.due():
            training.check_finite()
            checkpoint.save(training.snapshot())
        if report and (state.step == training.steps or time.monotonic() - last_report > 1):
            report(training.progress())
            last_report = time.monotonic()
    state.return_best()
    training.model.eval()
    return Fit(state.history, state.elapsed())


class Training:
    """A training in progress: the parts that stay the same, and the state that changes.

    Args:
        model, objective, data, config, criterion, seed, name: as for ``train``.
        recorder: what captures its steps; by default that of the device of the data, if any.
        notice: receives a sentence if they cannot be captured.
        world: the processes that each have a shard of every batch.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: TrainingData,
        config: TrainingConfig,
        criterion: Criterion,
        *,
        seed: int,
        name: str,
        recorder: Recorder | None = None,
        notice: Callable[[str], None] = warnings.warn,
        world: World = ALONE,
    ) -> None:
        _check_criterion(criterion, objective, config)
        check_divisible(world, objective, criterion, config.batch_size)
        self.model, self.objective, self.world = model, objective, world
        self.criterion = criterion.smoothed(config.label_smoothing)
        self.config, self.name = config, name
        recorder = recorder or (None if world.several else recorder_on(data.train.device))
        self._fingerprint = partial(
            fingerprint, model, objective, criterion, data, config, seed=seed, name=name
        )
        self.batches = Batches(data, config.batch_size, seed, name)
        self.validation = Validation(
            objective.members,
            criterion,
            data.validation,
            config.batch_size if recorder else 2 * config.batch_size,  # the shape that is compiled
            config.precision,
            seed,
            name,
            world,
        )
        self.steps = config.steps(data.images_per_epoch(config.batch_size))
        self.state = TrainingState(
            model,
            criterion.parameters(model),
            config,
            captured=recorder is not None,
            tallied=len(objective.members) if objective.counts_errors else 0,
        )
        self.step = self._step()
        self._execute = executed(self.step, recorder, notice)

    def _step(self) -> TrainingStep:
        config, learning = self.config, self.state.parameters
        gamma = config.awp and config.awp.gamma
        return TrainingStep(
            self.model,
            self.objective,
            self.criterion,
            self.state,
            precision=config.precision,
            clip_norm=config.clip_norm,
            awp=WeightPerturbation(self.model, learning, gamma, self.world) if gamma else None,
            warm_up=config.warm_up_steps(self.batches.per_epoch),
            world=self.world,
            images=config.batch_size,
        )

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What decides this training, apart from the weights that learn."""
        return self._fingerprint()

    @property
    def models(self) -> list[nn.Module]:
        """The model, and its copy that learns beside it, if there is one."""
        natural = self.state.natural
        return [self.model, natural.model] if natural else [self.model]

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from the state in a checkpoint, if there is one.

        Raises:
            CheckpointError: if it is of another training; then nothing has changed.
        """
        if saved := checkpoint.load():
            epoch = self.batches.per_epoch
            check_resumable(saved, self.state, self.fingerprint, steps=self.steps, epoch=epoch)
            self.state.restore(saved)
            self.objective = self.objective.after(self.state.errors)
        if self.world.several:
            check_alike(self.world, self.snapshot())

    def snapshot(self) -> Snapshot:
        """Return the state, and what it belongs to."""
        state = self.state.snapshot()
        return Snapshot(state.tensors, state.values | {"training": self.fingerprint})

    @property
    def passes(self) -> float:
        """About how many passes of a batch the training takes, forwards and backwards."""
        cost, images = self.objective.passes, self.objective.updates * self.criterion.images
        update = (
            3 * images * self.config.passes_of_update(self.batches.per_epoch * self.batches.size)
        )
        search = cost.forward + cost.backward - 2 * self.objective.updates
        natural = 3 if self.state.natural else 0
        return self.steps * (search + update + natural)

    def advance(self) -> None:
        """Take one step: its draw and its numbers on the host, everything else on the device."""
        state = self.state
        if self.objective.counts_errors and state.step % _MEASURES_ERRORS == 0:
            state.measure_errors()
            self.objective = self.objective.after(state.errors)
        x, y, generator = self.batches.draw(state.step)
        x, y = self.world.part(x), self.world.part(y)
        turn = self.objective.turn(state.step, generator.initial_seed())
        state.begin_step(self.learning_rate(state.step))
        self._execute(x, y, self.step.variant(state.step, turn), generator)
        state.step += 1

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step: the schedule's at its middle."""
        progress = (step + 0.5) / self.steps
        return self.config.learning_rate * self.config.factor(progress)

    def epoch_ended(self) -> bool:
        """Return whether the last step was the last of an epoch, or of the training."""
        return self.state.step % self.batches.per_epoch == 0 or self.state.step == self.steps

    def end_epoch(self) -> None:
        """Add the epoch to the history; validate if it is time."""
        self.check_finite()
        self.state.end_epoch()
        state, every = self.state, self.config.validate_every
        epoch = -(-state.step // self.batches.per_epoch)
        last = state.step == self.steps
        entry: dict[str, Any] = {
            "epoch": epoch,
            "loss": float(state.loss_sum) / (state.step - (epoch - 1) * self.batches.per_epoch),
            "learning_rate": self.learning_rate(state.step - 1),
        }
        state.loss_sum.zero_()
        if self.world.several:
            check_alike(self.world, self.snapshot())
        if every and (epoch % every == 0 or last):
            with state.averaged(), compiling_nothing(self.model):
                accuracies = self.validation.accuracies(self.model)
                entry["validation"] = accuracies
                entry["score"] = sum(accuracies) / len(accuracies)
                if single := self.validation.under_single_steps(self.model):
                    entry["single_step"] = single
                state.keep_if_best(entry["score"])
        elif last:
            with state.averaged():
                state.keep()
        state.history.append(entry)

    def check_finite(self) -> None:
        """Raise ``NotFiniteError`` if a loss has been infinite or NaN, or a weight is now."""
        if found := self.state.not_finite():
            what, step = found
            raise NotFiniteError(
                f"{self.name}: not finite: {what} at step {step} of {self.steps} "
                f"(epoch {step // self.batches.per_epoch + 1}, "
                f"learning rate {self.learning_rate(step):.3g}, "
                f"{type(self.objective).__name__} over {len(self.objective.members)} members); "
                "the last checkpoint is kept. Lower learning_rate, set clip_norm, or use fp32; the "
                "training then begins again"
            )

    def progress(self) -> Progress:
        """Return how far the training is."""
        state = self.state
        position = state.step % self.batches.per_epoch
        loss = state.history[-1]["loss"] if state.history else math.nan
        if position:
            loss = float(state.loss_sum) / position
        scores = [entry["score"] for entry in state.history if "score" in entry]
        return Progress(
            step=state.step,
            epoch=state.step / self.batches.per_epoch,
            epochs=self.config.epochs,
            loss=loss,
            seconds=state.elapsed(),
            validation=scores[-1] if scores else None,
        )


def _check_criterion(criterion: Criterion, objective: Objective, config: TrainingConfig) -> None:
    """Raise ``ValueError`` unless a criterion goes with the other parts of a training."""
    criterion.check(objective)
    if config.gradient_projection and not criterion.teaches_labels:
        raise ValueError(
            f"gradient_projection joins a training on labels, but {type(criterion).__name__} "
            "teaches other answers; set it to 0"
        )
