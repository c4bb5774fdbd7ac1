"""Evaluates a saved model in a run, as a whole or in parts, and takes over what is known."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from morex.artifacts.notes import sentences
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.core.files import digest_of
from morex.core.units import percent
from morex.evaluation.batches import Part
from morex.evaluation.clean_answers import answers_per_class
from morex.evaluation.evaluate import evaluate, evaluate_part
from morex.evaluation.gate_usage import gate_usage
from morex.models.folder import WEIGHTS
from morex.models.mixture import Mixture
from morex.run.builder import Builder
from morex.run.directory import RunDirectory
from morex.run.events import Noticed, Observer, PartProgressed, Progressed
from morex.run.inputs import forms_read
from morex.run.partial_results import PartialRows, RowShares
from morex.run.parts import PartKeeper, part_file, saved_parts
from morex.run.stages import Stage, model_folder, stage_id
from morex.run.starting import SavedModels


@dataclass(frozen=True)
class StageEvaluation:
    """Does the evaluations of a run, one at a time."""

    builder: Builder
    directory: RunDirectory
    observer: Observer
    checkpoint_every: float

    def _notice(self, text: str) -> None:
        self.observer(Noticed(text))

    def model(self, stage: Stage) -> nn.Module:
        """Return the trained model of a stage, ready to be attacked."""
        return self.builder.ready(
            SavedModels.of(self.builder.recipe, self.directory.root).model(stage.model)
        ).eval()

    def whole(self, stage: Stage, work: Path) -> tuple[dict[str, Any], str]:
        """Attack a saved model with a suite of the recipe; return its record and a summary."""
        suite, data = self.builder.suite(stage.suite), self.builder.test_data
        started, rows = time.monotonic(), self._known_rows(stage, work)
        parts = saved_parts(work, self._notice).values()
        shares = RowShares({row.name: row.count(len(data)) for row in suite}, rows.done)

        def keep(name: str, right: BoolArray) -> None:
            rows.keep(name, right, whole=shares.add(name, len(right)))
            text = f"{name} {percent(float(right.mean()))}"
            self.observer(Progressed(stage, shares.share, text))

        self.observer(Progressed(stage, shares.share, ""))
        model, settings = self.model(stage), self.builder.settings
        outcomes = evaluate(
            model,
            data,
            suite,
            **asdict(settings),
            done=dict(rows.done),
            keep=keep,
            notes=rows.notes,
            parts=parts,
        )
        for sentence in sentences(outcomes.notes):
            self._notice(f"{stage.model}: {sentence}")
        path = self.directory.root / stage.output
        path.parent.mkdir(parents=True, exist_ok=True)
        outcomes.save(path)
        has_gate = isinstance(model, Mixture) and not stage.suite
        answers = answers_per_class(model, data, batch_size=settings.batch_size)
        about: dict[str, Any] = {"rows": self._row_keys(stage), "answers": answers}
        about |= self._gate_usage(model) if has_gate else {}
        about["seconds"] = time.monotonic() - started + sum(part.seconds for part in parts)
        means = percent(outcomes.mean()), percent(outcomes.union().mean())
        return about, f"mean {means[0]}, union {means[1]}"

    def part(self, stage: Stage, work: Path, part: Part) -> None:
        """Attack a part of the batches of an evaluation, and keep what it finds in ``work``."""

        def report(share: float) -> None:
            self.observer(PartProgressed(stage, part.number, part.of, share))

        path = part_file(work, part)
        others = saved_parts(work, self._notice)
        evaluate_part(
            self.model(stage),
            self.builder.test_data,
            self.builder.suite(stage.suite),
            part,
            **asdict(self.builder.settings),
            done=self._known_rows(stage, work).done,
            begun=others.pop(path.name, None),
            known=others.values(),
            keep=PartKeeper(path, self.checkpoint_every, report),
        )

    def _row_keys(self, stage: Stage) -> dict[str, str]:
        """Return a hash of what decides each row of an evaluation."""
        trained = self.directory.record(stage_id("train", stage.model))
        assert trained
        return stage.row_keys(trained.files[f"{model_folder(stage.model)}/{WEIGHTS}"])

    def _known_rows(self, stage: Stage, work: Path) -> PartialRows:
        """Return the rows that are known, from the unfinished evaluation or an earlier one."""
        n = len(self.builder.test_data)
        counts = {row.name: row.count(n) for row in self.builder.suite(stage.suite)}
        rows = PartialRows(work / "rows.npz", self.checkpoint_every, self._notice, counts=counts)
        self._take_known_rows(stage, self._row_keys(stage), rows)
        return rows

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
