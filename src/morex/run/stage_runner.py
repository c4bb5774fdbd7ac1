"""Runs single stages: trains, assembles, evaluates or illustrates a model, and saves the result."""

import math
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morex.artifacts.overfitting import overfitted
from morex.artifacts.records import Epoch, Passes, StageRecord
from morex.core.units import percent
from morex.evaluation.batches import Part
from morex.models.errors import ModelError
from morex.models.folder import DESCRIPTION
from morex.models.gates import ExtendedGate
from morex.models.hub import on_hub, pinned_address
from morex.models.save import save_model
from morex.recipe import Recipe
from morex.recipe.illustrated import in_pictures
from morex.recipe.phases import Phase, phase_of
from morex.run.builder import Builder
from morex.run.checkpoint import FileCheckpoint
from morex.run.costs import network_passes
from morex.run.directory import RunDirectory
from morex.run.events import (
    Finished,
    Measured,
    Noticed,
    Observer,
    Progressed,
    Started,
)
from morex.run.inputs import (
    ChangedInputError,
    Inputs,
    check_same,
    forms_read,
    inputs_of,
    weights_read,
)
from morex.run.memory import forget_peak, peak_memory
from morex.run.provenance import commit, provenance
from morex.run.stage_evaluation import StageEvaluation
from morex.run.stages import Stage
from morex.run.starting import SavedModels, starting_model
from morex.training import CheckpointError, Progress, World, train
from morex.training.world import ALONE


@dataclass(frozen=True)
class Task:
    """A stage to do.

    Args:
        stage: the stage.
        key: hash of everything that decides its result.
        inputs: checksums of what the stage reads, as they were when it was planned.
        part: which part of an evaluation to do; None for the whole stage, which takes what parts
            of it have found.
    """

    stage: Stage
    key: str
    inputs: Inputs
    part: Part | None = None


@dataclass
class StageRunner:
    """Runs one stage at a time, in a process that holds the data."""

    builder: Builder
    directory: RunDirectory
    observer: Observer
    checkpoint_every: float
    patience: float = 0.0
    world: World = ALONE
    evaluation: StageEvaluation = field(init=False)
    _noticed: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """Prepare evaluations."""
        self.evaluation = StageEvaluation(
            self.builder, self.directory, self.observer, self.checkpoint_every
        )

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        root: Path,
        device: torch.device,
        observer: Observer,
        checkpoint_every: float,
    ) -> "StageRunner":
        """Load the data of a run in this process."""
        commit()  # asked now and kept: the source may change while the process runs
        return cls(Builder.open(recipe, device), RunDirectory(root), observer, checkpoint_every)

    @property
    def recipe(self) -> Recipe:
        """The run's recipe."""
        return self.builder.recipe

    def do(self, task: Task) -> StageRecord | None:
        """Run a stage, from its checkpoint if there is one, and return its record.

        A part of a stage has no record.

        Raises:
            ChangedInputError: if something that it reads is not what was planned.
        """
        self._check(task)
        self.observer(Started(task.stage))
        if task.part is None:
            if self.world.leads:
                return self._do_whole(task)
            self._help(task)
            return None
        work = self.work_folder(task)
        self.evaluation.part(task.stage, work, task.part)
        self._check_again(task, work)
        return None

    def trains(self, stage: Stage) -> bool:
        """Return whether a stage takes the steps of a training; some models are only assembled."""
        return stage.makes_a_model and phase_of(self.recipe, stage.model, stage.kind) is not None

    def _help(self, task: Task) -> None:
        """Take part in a training of which another process keeps the result."""
        saved = SavedModels.of(self.recipe, self.directory.root)
        model = self.builder.ready(starting_model(self.builder, task.stage, saved))
        phase = phase_of(self.recipe, task.stage.model, task.stage.kind)
        assert phase
        self._fit(task.stage, phase, model, saved, self.work_folder(task))

    def work_folder(self, task: Task) -> Path:
        """Return the folder of a stage's unfinished work."""
        reads = forms_read(self.directory.root, task.stage.needs)
        return self.directory.work_folder(task.stage, task.key, reads)

    def _do_whole(self, task: Task) -> StageRecord:
        stage, key = task.stage, task.key
        forget_peak(self.builder.device)
        started = time.monotonic()
        action = {"evaluate": self.evaluation.whole, "illustrate": self._illustrate}
        reads, work = forms_read(self.directory.root, stage.needs), self.work_folder(task)
        about, text = action.get(stage.kind, self._train)(stage, work)
        seconds = about.pop("seconds", time.monotonic() - started)
        about |= {
            "reads": reads,
            "seconds": round(seconds, 3),
            **peak_memory(self.builder.device),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": provenance(self.builder.device, self._processes(stage)),
        }
        self._check_again(task, work)
        description = (f"{stage.folder}/{DESCRIPTION}",) if stage.makes_a_model else ()
        record = self.directory.finish(stage, key, (stage.output, *description), about)
        self.observer(Finished(stage, seconds, text))
        return record

    def _check(self, task: Task) -> None:
        """Raise if this process reads something else than was planned.

        Network storage may show a file late that another machine has written.
        """
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return self._check_now(task)
            except (ChangedInputError, ModelError):
                if time.monotonic() >= deadline:
                    raise
            time.sleep(1.0)

    def _check_now(self, task: Task) -> None:
        read = weights_read(self.directory.root, task.stage)
        check_same(task.stage, task.inputs, inputs_of(self.builder, task.stage) | read)

    def _check_again(self, task: Task, work: Path) -> None:
        """Raise if something that was read has changed; nothing of the work is then of use."""
        try:
            self._check(task)
        except ChangedInputError:
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _notice(self, text: str) -> None:
        self.observer(Noticed(text))

    def _notice_once(self, text: str) -> None:
        """Tell the observer what holds for further stages as well, unless it was told."""
        if text not in self._noticed:
            self._noticed.add(text)
            self._notice(text)

    def _train(self, stage: Stage, work: Path) -> tuple[dict[str, Any], str]:
        """Train a model, or its gate, and save it."""
        saved = SavedModels.of(self.recipe, self.directory.root)
        model = self.builder.ready(starting_model(self.builder, stage, saved))
        about: dict[str, Any] = {}
        text = ""
        if phase := phase_of(self.recipe, stage.model, stage.kind):
            about = self._fit(stage, phase, model, saved, work)
            judged, loss = about["validation"], about["history"][-1].loss
            text = f"loss {loss:.3f}" if judged is None else f"validation {percent(judged)}"
        folder = self.directory.root / stage.folder
        dtype = torch.bfloat16 if self.recipe.saved_precision == "bf16" else torch.float32
        label = self._label(stage.model)
        if isinstance(model, ExtendedGate):  # a gate alone, which cannot be evaluated
            label = {"name": label["name"]}
        save_model(model.eval(), folder, about=label, dtype=dtype)
        return about, text

    def _fit(
        self, stage: Stage, phase: Phase, model: nn.Module, saved: SavedModels, work: Path
    ) -> dict[str, Any]:
        """Train a model and return what its record says about the training."""
        checkpoint = FileCheckpoint(work, self.checkpoint_every, self._notice)
        fit = partial(
            train,
            model,
            self.builder.objective(phase),
            self.builder.training_data,
            phase.training,
            seed=self.recipe.seed,
            name=stage.id,
            criterion=self.builder.criterion(phase, saved.model),
            checkpoint=checkpoint,
            report=partial(self._report, stage),
            notice=self._notice_once,
            world=self.world,
        )
        try:
            fitted = fit()
        except CheckpointError as error:  # before the first step: the model is as it was
            if self.world.leads:
                checkpoint.discard(f"{checkpoint.path}: {error}")
            fitted = fit()
        passes = network_passes(self.builder, stage)
        history = tuple(map(Epoch.model_validate, fitted.history))
        if failed := overfitted(history):
            self._notice(f"{stage.model}: {failed}")
        scores = [epoch.score for epoch in history if epoch.score is not None]
        return {
            "seconds": fitted.seconds,
            "validation": max(scores, default=None),
            "passes": Passes(forward=round(passes.forward), backward=round(passes.backward)),
            "history": history,
        }

    def _processes(self, stage: Stage) -> int:
        """Return how many processes have decided the last bits of a stage."""
        return self.world.size if self.trains(stage) else 1

    def _report(self, stage: Stage, progress: Progress) -> None:
        """Tell the observer how far a training is."""
        text, values = f"epoch {progress.epoch:.1f}/{progress.epochs}", {}
        if not math.isnan(progress.loss):
            text += f", loss {progress.loss:.3f}"
            values["loss"] = progress.loss
        if progress.validation is not None:
            text += f", validation {percent(progress.validation)}"
            values["validation"] = progress.validation
        self.observer(Progressed(stage, progress.epoch / progress.epochs, text))
        self.observer(Measured(stage, progress.step, values))

    def _label(self, name: str) -> dict[str, Any]:
        """Return what is saved beside a model, so that it can be used without the run.

        ``pinned`` names a model on the hub at the commit that was read.
        """
        origin = self.recipe.models[name].origin
        return {
            **({"pinned": pinned_address(origin)} if on_hub(origin) else {}),
            "name": name,
            "classes": list(self.builder.data.train.classes),
            "image_size": list(self.builder.data.train.shape[1:]),
            "recipe": self.recipe.of_evaluation(),
        }

    def _illustrate(self, stage: Stage, work: Path) -> tuple[dict[str, Any], str]:
        """Attack a saved model on a few images, for the report page."""
        gallery = stage.model == in_pictures(self.recipe)
        data = self.builder.test_data
        made = self.builder.illustrator().illustrate(
            self.evaluation.model(stage), data, gallery=gallery
        )
        made.save(self.directory.root / stage.output)
        shown = f", {len(made.pictures.index)} pictures" if made.pictures else ""
        return {}, f"{len(made.labels)} images{shown}"
