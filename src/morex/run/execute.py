"""Doing a run: every stage once, in order, and again only where something changed."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import nn

from morex.evaluation import evaluate
from morex.outcomes import BoolArray, Outcomes
from morex.precision import default_device
from morex.recipe import Recipe
from morex.recipe.schema import MixtureModel, NetworkModel, UngatedModel, parents
from morex.run.build import Workshop
from morex.run.checkpoint import FileCheckpoint
from morex.run.planning import stage_passes
from morex.run.provenance import peak_memory, provenance
from morex.run.results import results
from morex.run.stages import Stage, model_folder, plan_stages
from morex.run.store import Store
from morex.saving import DESCRIPTION, load_model, save_model
from morex.targets import Target
from morex.training import Progress, TrainingConfig, train


class Watcher(Protocol):
    """Is told how a run is going."""

    def begins(self, stages: list[Stage], passes: dict[str, float]) -> None:
        """All stages, and how many passes through a network each takes at most."""

    def skips(self, stage: Stage) -> None:
        """The stage is finished and up to date."""

    def starts(self, stage: Stage) -> None:
        """The stage begins, or goes on."""

    def progress(self, stage: Stage, share: float, text: str) -> None:
        """The stage has come so far; ``share`` is in [0, 1]."""

    def ends(self, stage: Stage, seconds: float, text: str) -> None:
        """The stage is finished."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""


class Silence:
    """A watcher that says nothing."""

    def begins(self, stages: list[Stage], passes: dict[str, float]) -> None: ...  # noqa: D102
    def skips(self, stage: Stage) -> None: ...  # noqa: D102
    def starts(self, stage: Stage) -> None: ...  # noqa: D102
    def progress(self, stage: Stage, share: float, text: str) -> None: ...  # noqa: D102
    def ends(self, stage: Stage, seconds: float, text: str) -> None: ...  # noqa: D102
    def notice(self, text: str) -> None: ...  # noqa: D102


def run(
    recipe: Recipe,
    out: Path | str,
    *,
    device: torch.device | None = None,
    watcher: Watcher | None = None,
    checkpoint_every: float = 30.0,
) -> None:
    """Do everything in ``recipe`` that is not done yet in the run directory ``out``.

    It may be killed at any moment: the same call goes on where it was and ends with the same bits.

    Args:
        recipe: what to do.
        out: the run directory, made if it does not exist.
        device: a GPU if there is one, by default.
        watcher: is told how it goes.
        checkpoint_every: seconds between two checkpoints of a training.

    Raises:
        RunError: if another process works in ``out``.
        DataError: if the data is missing or wrong.
        NotFiniteError: if a training diverges; finished stages and its checkpoint stay.
    """
    device = device or default_device()
    store = Store(Path(out))
    with store.locked():
        workshop = Workshop.open(recipe, device)
        work = _Run(workshop, store, watcher or Silence(), checkpoint_every)
        content = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        store.write("recipe.yaml", content.encode())
        work.do_all()


@dataclass
class _Run:
    """A run in progress."""

    workshop: Workshop
    store: Store
    watcher: Watcher
    checkpoint_every: float
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    @property
    def recipe(self) -> Recipe:
        return self.workshop.recipe

    def do_all(self) -> None:
        """Do all stages, writing the results after each."""
        data = self.workshop.training_data
        fingerprint = (
            f"{data.train.fingerprint()} {data.validation.fingerprint()} "
            f"{self.workshop.pixel_statistics}"
        )
        self.stages = plan_stages(self.recipe, fingerprint, self.workshop.test_data.fingerprint())
        passes = {stage.id: stage_passes(self.workshop, stage).total for stage in self.stages}
        self.watcher.begins(self.stages, passes)
        for stage in self.stages:
            digests = {need: self._digest(need) for need in stage.needs}
            key = stage.key(digests)
            record = self.store.finished(stage, key)
            for damage in self.store.damaged:
                self.watcher.notice(f"{damage}; {stage.id} is done again")
            self.store.damaged.clear()
            if record:
                self.watcher.skips(stage)
            else:
                record = self._do(stage, key)
            self.records[stage.id] = record
            self._write_results()
        self.store.tidy()

    def _digest(self, stage_id: str) -> str:
        """Return the checksum of what a finished stage hands on."""
        output = next(stage.output for stage in self.stages if stage.id == stage_id)
        digest: str = self.records[stage_id]["files"][output]
        return digest

    def _do(self, stage: Stage, key: str) -> dict[str, Any]:
        self.watcher.starts(stage)
        started = time.monotonic()
        action = {"gate": self._train, "train": self._train, "evaluate": self._evaluate}
        about, text = action[stage.kind](stage, self.store.work(stage, key))
        seconds = about.pop("seconds", time.monotonic() - started)
        about |= {
            "seconds": round(seconds, 3),
            "peak_memory_bytes": peak_memory(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": provenance(self.workshop.device),
        }
        description = () if stage.kind == "evaluate" else (f"{stage.folder}/{DESCRIPTION}",)
        files = (stage.output, *description)
        record = self.store.finish(stage, key, files, about)
        self.watcher.ends(stage, seconds, text)
        return record

    def _train(self, stage: Stage, work: Path) -> tuple[dict[str, Any], str]:
        """Train a model, or its gate, and save it."""
        spec = self.recipe.models[stage.model]
        model = self.workshop.ready(self._untrained(stage))
        about: dict[str, Any] = {}
        text = ""
        if not isinstance(spec, UngatedModel):
            about = self._fit(stage, spec, model, work)
            text = f"validation {100 * about['validation']:.1f}%"
        folder = self.store.root / stage.folder
        save_model(model.eval(), folder, about=self._label(stage.model))
        return about, text

    def _fit(
        self, stage: Stage, spec: NetworkModel | MixtureModel, model: nn.Module, work: Path
    ) -> dict[str, Any]:
        config, target = _lesson(self.workshop, stage, spec)

        def report(progress: Progress) -> None:
            text = f"epoch {progress.epoch:.1f}/{progress.epochs}, loss {progress.loss:.3f}"
            if progress.validation is not None:
                text += f", validation {100 * progress.validation:.1f}%"
            self.watcher.progress(stage, progress.epoch / progress.epochs, text)

        checkpoint = FileCheckpoint(work, self.checkpoint_every, self.watcher.notice)
        fitted = train(
            model,
            self.workshop.objective(spec),
            self.workshop.training_data,
            config,
            seed=self.recipe.seed,
            name=stage.id,
            target=target,
            checkpoint=checkpoint,
            report=report,
        )
        passes = stage_passes(self.workshop, stage)
        return {
            "seconds": fitted.seconds,
            "validation": max(entry["score"] for entry in fitted.history if "score" in entry),
            "passes": {"forward": round(passes.forward), "backward": round(passes.backward)},
            "history": fitted.history,
        }

    def _untrained(self, stage: Stage) -> nn.Module:
        """Return the model that a stage starts from, on the CPU."""
        spec = self.recipe.models[stage.model]
        if isinstance(spec, NetworkModel):
            model = self.workshop.network(stage.model)
            if spec.warm_start:
                start = load_model(self.store.root / model_folder(spec.warm_start))
                model.load_state_dict(start.state_dict())
            return model
        if stage.kind == "train" and isinstance(spec, MixtureModel) and spec.gate_warmup:
            return load_model(self.store.root / model_folder(stage.model) / "gate")
        experts = {name: load_model(self.store.root / model_folder(name)) for name in parents(spec)}
        if isinstance(spec, MixtureModel):
            return self.workshop.mixture(stage.model, experts)
        return self.workshop.ungated(spec, experts)

    def _label(self, name: str) -> dict[str, Any]:
        """Return what is kept beside a model, so that it can be evaluated and used by itself."""
        recipe = self.recipe.model_dump(mode="json", exclude={"models", "columns"})
        return {
            "name": name,
            "classes": list(self.workshop.data.train.classes),
            "image_size": list(self.workshop.data.train.shape[1:]),
            "recipe": {key: recipe[key] for key in ("data", "perturbations", "evaluation")},
        }

    def _evaluate(self, stage: Stage, work: Path) -> tuple[dict[str, Any], str]:
        """Attack a saved model with the recipe's suite."""
        suite = self.workshop.suite()
        rows = _PartialRows(work / "rows.npz", self.watcher.notice)

        def keep(name: str, right: BoolArray) -> None:
            rows.keep(name, right)
            text = f"{name} {100 * float(right.mean()):.1f}%"
            self.watcher.progress(stage, len(rows.done) / len(suite), text)

        model = load_model(self.store.root / model_folder(stage.model))
        outcomes = evaluate(
            self.workshop.ready(model).eval(),
            self.workshop.test_data,
            suite,
            seed=self.recipe.seed,
            batch_size=self.recipe.evaluation.batch_size,
            done=rows.done,
            keep=keep,
        )
        path = self.store.root / stage.output
        path.parent.mkdir(exist_ok=True)
        outcomes.save(path)
        return {}, f"mean {100 * outcomes.mean():.1f}%, union {100 * outcomes.union().mean():.1f}%"

    def _write_results(self) -> None:
        content = results(
            self.workshop, self.stages, self.records, provenance(self.workshop.device)
        )
        self.store.write("results.json", json.dumps(content, indent=1).encode())


def _lesson(
    workshop: Workshop, stage: Stage, spec: NetworkModel | MixtureModel
) -> tuple[TrainingConfig, Target | None]:
    """Return how long, and towards what, a stage trains."""
    if stage.kind == "gate" and isinstance(spec, MixtureModel) and spec.gate_warmup:
        return spec.gate_warmup, workshop.gate_target(spec)
    return spec.training, None


class _PartialRows:
    """The rows of an unfinished evaluation."""

    def __init__(self, path: Path, notice: Callable[[str], None]) -> None:
        self.path = path
        self.done: dict[str, BoolArray] = {}
        try:
            self.done = dict(Outcomes.load(path).right)
        except FileNotFoundError:
            pass
        except ValueError as error:
            notice(f"{error}; the evaluation starts again")

    def keep(self, name: str, right: BoolArray) -> None:
        """Add a row."""
        self.done[name] = right
        Outcomes(self.done).save(self.path)
