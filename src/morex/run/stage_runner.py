"""Runs single stages: trains, assembles, evaluates or illustrates a model, and saves the result."""

import math
import shutil
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morex.artifacts.notes import sentences
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.overfitting import overfitted
from morex.artifacts.records import Epoch, Passes, StageRecord
from morex.artifacts.statistics import BoolArray
from morex.core.files import digest_of
from morex.core.units import percent
from morex.evaluation.clean_answers import answers_per_class
from morex.evaluation.evaluate import evaluate
from morex.evaluation.gate_usage import gate_usage
from morex.models.folder import DESCRIPTION, WEIGHTS
from morex.models.gates import ExtendedGate
from morex.models.mixture import Mixture
from morex.models.save import save_model
from morex.recipe import Recipe
from morex.recipe.illustrated import in_pictures
from morex.recipe.phases import Phase, phase_of
from morex.run.builder import Builder
from morex.run.checkpoint import FileCheckpoint
from morex.run.costs import network_passes
from morex.run.directory import RunDirectory
from morex.run.events import Finished, Measured, Noticed, Observer, Progressed, Started
from morex.run.inputs import (
    ChangedInputError,
    Inputs,
    check_same,
    forms_read,
    inputs_of,
    weights_read,
)
from morex.run.memory import forget_peak, peak_memory
from morex.run.partial_results import PartialRows, RowShares
from morex.run.provenance import provenance
from morex.run.stages import Stage, model_folder, stage_id
from morex.run.starting import SavedModels, starting_model
from morex.training import CheckpointError, Progress, train


@dataclass(frozen=True)
class Task:
    """A stage to do.

    Args:
        stage: the stage.
        key: hash of everything that decides its result.
        inputs: checksums of what the stage reads, as they were when it was planned.
    """

    stage: Stage
    key: str
    inputs: Inputs


@dataclass
class StageRunner:
    """Runs one stage at a time, in a process that holds the data."""

    builder: Builder
    directory: RunDirectory
    observer: Observer
    checkpoint_every: float
    _noticed: set[str] = field(default_factory=set, init=False)

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
        return cls(Builder.open(recipe, device), RunDirectory(root), observer, checkpoint_every)

    @property
    def recipe(self) -> Recipe:
        """The run's recipe."""
        return self.builder.recipe

    def do(self, task: Task) -> StageRecord:
        """Run a stage, from its checkpoint if there is one, and return its record.

        Raises:
            ChangedInputError: if something that it reads is not what was planned.
        """
        stage, key = task.stage, task.key
        self._check(task)
        self.observer(Started(stage))
        forget_peak(self.builder.device)
        started = time.monotonic()
        action = {"evaluate": self._evaluate, "illustrate": self._illustrate}
        reads = forms_read(self.directory.root, stage.needs)
        work = self.directory.work_folder(stage, key, reads)
        about, text = action.get(stage.kind, self._train)(stage, work)
        seconds = about.pop("seconds", time.monotonic() - started)
        about |= {
            "reads": reads,
            "seconds": round(seconds, 3),
            **peak_memory(self.builder.device),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": provenance(self.builder.device),
        }
        try:
            self._check(task)
        except ChangedInputError:
            shutil.rmtree(work)
            raise
        description = (f"{stage.folder}/{DESCRIPTION}",) if stage.makes_a_model else ()
        record = self.directory.finish(stage, key, (stage.output, *description), about)
        self.observer(Finished(stage, seconds, text))
        return record

    def _check(self, task: Task) -> None:
        """Raise if this process reads something else than was planned."""
        read = weights_read(self.directory.root, task.stage)
        check_same(task.stage, task.inputs, inputs_of(self.builder, task.stage) | read)

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
        )
        try:
            fitted = fit()
        except CheckpointError as error:  # before the first step: the model is as it was
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
        """Return what is saved beside a model, so that it can be used without the run."""
        return {
            "name": name,
            "classes": list(self.builder.data.train.classes),
            "image_size": list(self.builder.data.train.shape[1:]),
            "recipe": self.recipe.of_evaluation(),
        }

    def _evaluate(self, stage: Stage, work: Path) -> tuple[dict[str, Any], str]:
        """Attack a saved model with the recipe's suite."""
        suite, data = self.builder.suite(stage.suite), self.builder.test_data
        counts = {row.name: row.count(len(data)) for row in suite}
        rows = PartialRows(work / "rows.npz", self.checkpoint_every, self._notice, counts=counts)
        keys = self._row_keys(stage)
        self._take_known_rows(stage, keys, rows)
        shares = RowShares(counts, rows.done)

        def keep(name: str, right: BoolArray) -> None:
            rows.keep(name, right, whole=shares.add(name, len(right)))
            text = f"{name} {percent(float(right.mean()))}"
            self.observer(Progressed(stage, shares.share, text))

        self.observer(Progressed(stage, shares.share, ""))
        model, settings = self._ready(stage), self.builder.settings
        outcomes = evaluate(
            model,
            data,
            suite,
            **asdict(settings),
            done=dict(rows.done),
            keep=keep,
            notes=rows.notes,
        )
        for sentence in sentences(outcomes.notes):
            self._notice(f"{stage.model}: {sentence}")
        path = self.directory.root / stage.output
        path.parent.mkdir(parents=True, exist_ok=True)
        outcomes.save(path)
        has_gate = isinstance(model, Mixture) and not stage.suite
        answers = answers_per_class(model, data, batch_size=settings.batch_size)
        about = {"rows": keys, "answers": answers} | (self._gate_usage(model) if has_gate else {})
        return (
            about,
            f"mean {percent(outcomes.mean())}, union {percent(outcomes.union().mean())}",
        )

    def _ready(self, stage: Stage) -> nn.Module:
        """Return the trained model of a stage, ready to be attacked."""
        return self.builder.ready(
            SavedModels.of(self.recipe, self.directory.root).model(stage.model)
        ).eval()

    def _illustrate(self, stage: Stage, work: Path) -> tuple[dict[str, Any], str]:
        """Attack a saved model on a few images, for the report page."""
        gallery = stage.model == in_pictures(self.recipe)
        data = self.builder.test_data
        made = self.builder.illustrator().illustrate(self._ready(stage), data, gallery=gallery)
        made.save(self.directory.root / stage.output)
        shown = f", {len(made.pictures.index)} pictures" if made.pictures else ""
        return {}, f"{len(made.labels)} images{shown}"

    def _row_keys(self, stage: Stage) -> dict[str, str]:
        """Return a hash of what decides each row of an evaluation."""
        trained = self.directory.record(stage_id("train", stage.model))
        assert trained
        return stage.row_keys(trained.files[f"{model_folder(stage.model)}/{WEIGHTS}"])

    def _take_known_rows(self, stage: Stage, keys: dict[str, str], rows: PartialRows) -> None:
        """Take over the rows that an earlier evaluation of the same model has.

        Models with the same weights are not the same if they compute something else with them.
        """
        before = self.directory.record(stage.id)
        if before is None or before.reads != forms_read(self.directory.root, before.reads):
            return
        same = [name for name, key in before.rows.items() if keys.get(name) == key]
        path = self.directory.root / stage.output
        if not same or not path.is_file() or digest_of(path) != before.files[stage.output]:
            return
        known = Outcomes.load(path)
        same = [name for name in same if name not in rows.done]
        rows.done |= {name: known.right[name] for name in same}
        rows.notes.take(known.notes, same)

    def _gate_usage(self, model: nn.Module) -> dict[str, Any]:
        assert isinstance(model, Mixture)
        data, settings = self.builder.test_data, self.builder.settings
        seed, batch_size = settings.seed, settings.batch_size
        use = gate_usage(model, data, self.builder.suite(), seed=seed, batch_size=batch_size)
        return {"gate": use}
