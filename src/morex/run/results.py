"""What a run writes for tables and reports."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from morex.artifacts.labels import TestImages
from morex.artifacts.records import StageRecord
from morex.artifacts.results import (
    FORMAT,
    ColumnEntry,
    Cost,
    ResultsFile,
    RowEntry,
    Setting,
    StageEntry,
    results_name,
)
from morex.core.files import digest_of_all
from morex.models.folder import WEIGHTS
from morex.perturbations import Perturbation
from morex.recipe.components import AttackSpec, described
from morex.recipe.models import SavedModel
from morex.recipe.phases import phase_of
from morex.run.builder import Builder
from morex.run.directory import RunDirectory
from morex.run.provenance import provenance
from morex.run.stages import Stage, model_folder, stage_id

_OF_RECORD = StageEntry.model_fields.keys() & StageRecord.model_fields.keys()
"""The fields that the entry of a stage copies from its record."""

Records = Mapping[str, StageRecord]
"""The records of finished stages, by the id of the stage."""


@dataclass(frozen=True)
class ResultsFiles:
    """The results files of a run: that of the table, and one for each further suite.

    A run writes them after every stage, so each entry is made only once.

    Args:
        builder: the recipe and its data.
        stages: all stages of the run.
    """

    builder: Builder
    stages: tuple[Stage, ...]
    _columns: dict[tuple[str, str], ColumnEntry] = field(init=False, default_factory=dict)
    _entries: dict[str, StageEntry] = field(init=False, default_factory=dict)
    _rows: dict[str, dict[str, RowEntry]] = field(init=False, default_factory=dict)

    def write(self, directory: RunDirectory, records: Records) -> None:
        """Write the results of the finished stages, and remove the files of other suites."""
        names = []
        for suite in ("", *self.builder.recipe.evaluation.suites):
            names.append(results_name(suite))
            directory.write(names[-1], self.content(records, suite).to_bytes())
        directory.remove_results_except(names)

    def content(self, records: Records, suite: str = "") -> ResultsFile:
        """Return the results of all finished stages.

        Args:
            records: the records of the finished stages.
            suite: a suite other than that of the table.
        """
        recipe = self.builder.recipe
        done = [s for s in self.stages if s.id in records]
        evaluated = {s.model: s for s in done if s.kind == "evaluate" and s.suite == suite}
        columns = recipe.columns_under(suite)
        return ResultsFile(
            format=FORMAT,
            name=f"{recipe.name}, suite {suite}" if suite else recipe.name,
            seed=recipe.seed,
            setting=self._setting,
            rows=self._row_entries(suite),
            perturbations=self._perturbations,
            columns={
                name: self._column(evaluated[name], records)
                for name in columns
                if name in evaluated
            },
            illustrations={s.model: s.output for s in done if s.kind == "illustrate"},
            missing=tuple(name for name in columns if name not in evaluated),
            stages={s.id: self._entry(s, records[s.id]) for s in done},
            provenance=provenance(self.builder.device),
        )

    @cached_property
    def _setting(self) -> Setting:
        recipe = self.builder.recipe
        return Setting(
            data=recipe.data.name,
            data_note=recipe.data.note,
            network=recipe.network.title,
            width=recipe.network.width,
            n_test=len(self.builder.test_data),
        )

    @cached_property
    def _perturbations(self) -> dict[str, dict[str, object]]:
        return {name: described(p) for name, p in self.builder.recipe.perturbations.items()}

    @cached_property
    def _of_model(self) -> dict[str, list[str]]:
        """The stages that make each model."""
        found: dict[str, list[str]] = {}
        for stage in self.stages:
            if stage.makes_a_model:
                found.setdefault(stage.model, []).append(stage.id)
        return found

    @cached_property
    def _needs(self) -> dict[str, tuple[str, ...]]:
        return {stage.id: stage.needs for stage in self.stages}

    def _row_entries(self, suite: str) -> dict[str, RowEntry]:
        if suite not in self._rows:
            attacks = self.builder.attacks(suite)
            self._rows[suite] = {
                name: _row_entry(row, attacks.perturbations[row.perturbation])
                for name, row in attacks.rows.items()
            }
        return self._rows[suite]

    def _column(self, evaluation: Stage, records: Records) -> ColumnEntry:
        """Return where a model's outcomes are and what the model cost."""
        key = (evaluation.model, evaluation.suite)
        if key not in self._columns:
            self._columns[key] = self._new_column(evaluation, records)
        return self._columns[key]

    def _new_column(self, evaluation: Stage, records: Records) -> ColumnEntry:
        name, record = evaluation.model, records[evaluation.id]
        own = self._of_model[name]
        spec = self.builder.recipe.trained.get(name)
        made = records[stage_id("train", name)]
        return ColumnEntry(
            outcomes=evaluation.output,
            weights=digest_of_all([made.files[f"{model_folder(name)}/{WEIGHTS}"]]),
            seconds=record.seconds,
            trained_on=f"{spec.objective}: {', '.join(spec.against)}" if spec else "",
            answers=record.answers,
            gate=record.gate,
            training=_cost(own, records),
            training_with_parents=_cost(self._ancestry(own), records),
        )

    def _ancestry(self, ids: list[str]) -> list[str]:
        """Return the stages ``ids`` and all stages that they need, each once."""
        found: dict[str, None] = {}
        queue = [*ids]
        while queue:
            stage = queue.pop()
            if stage not in found:
                found[stage] = None
                queue += self._needs[stage]
        return list(found)

    def _entry(self, stage: Stage, record: StageRecord) -> StageEntry:
        if stage.id not in self._entries:
            recipe = self.builder.recipe
            phase = phase_of(recipe, stage.model, stage.kind)
            trained = phase or recipe.trained.get(stage.model)
            against = trained.against if trained else ()
            measured = record.model_dump(include=_OF_RECORD, exclude_unset=True)
            if stage.kind == "train" and isinstance(recipe.models[stage.model], SavedModel):
                measured["saved"] = True
            self._entries[stage.id] = StageEntry(
                kind=stage.kind, model=stage.model, against=against, **measured
            )
        return self._entries[stage.id]


def _row_entry(row: AttackSpec, perturbation: Perturbation) -> RowEntry:
    budget = row.model_dump(exclude={"attack", "perturbation"}, exclude_none=True)
    numbers = ", ".join(f"{key}={value}" for key, value in budget.items())
    text = f"{row.attack} in {perturbation}" + (f" with {numbers}" if numbers else "")
    return RowEntry(attack=text, perturbation=described(perturbation))


def _cost(ids: Iterable[str], records: Records) -> Cost:
    """Return the sum of the passes and seconds of the stages that train a network."""
    found = [records[stage] for stage in ids]
    passes = [record.passes for record in found if record.passes]
    return Cost(
        forward=sum(p.forward for p in passes),
        backward=sum(p.backward for p in passes),
        seconds=round(sum(record.training_seconds for record in found), 3),
    )


def test_labels(builder: Builder) -> TestImages:
    """Return the test images in the order in which they are attacked."""
    images = builder.test_data
    return TestImages(
        classes=images.classes,
        labels=tuple(images.labels.tolist()),
        index=tuple(builder.test_rows.tolist()),
    )
