"""What a run writes for tables and reports."""

from collections.abc import Mapping

from morex.artifacts.labels import TestImages
from morex.artifacts.provenance import Provenance
from morex.artifacts.records import StageRecord
from morex.artifacts.results import (
    FORMAT,
    ColumnEntry,
    Cost,
    ResultsFile,
    RowEntry,
    Setting,
    StageEntry,
)
from morex.recipe.components import described
from morex.recipe.phases import phase_of
from morex.run.builder import Builder
from morex.run.stages import Stage, stage_id

_OF_RECORD = StageEntry.model_fields.keys() & StageRecord.model_fields.keys()
"""The fields that the entry of a stage copies from its record."""


def results(
    builder: Builder,
    stages: list[Stage],
    records: Mapping[str, StageRecord],
    made_by: Provenance,
    suite: str = "",
) -> ResultsFile:
    """Return the results of all finished stages.

    Args:
        builder: the recipe and its data.
        stages: all stages of the run.
        records: the records of the finished ones, by id.
        made_by: the provenance of the process that writes.
        suite: a suite other than that of the table.
    """
    recipe = builder.recipe
    evaluated = [name for name in recipe.columns if stage_id("evaluate", name, suite) in records]
    return ResultsFile(
        format=FORMAT,
        name=f"{recipe.name}, suite {suite}" if suite else recipe.name,
        seed=recipe.seed,
        setting=_setting(builder),
        rows=_rows(builder, suite),
        perturbations={name: described(p) for name, p in recipe.perturbations.items()},
        columns={name: _column(builder, name, stages, records, suite) for name in evaluated},
        illustrations={
            s.model: s.output for s in stages if s.kind == "illustrate" and s.id in records
        },
        missing=tuple(name for name in recipe.columns if name not in evaluated),
        stages={s.id: _stage(builder, s, records[s.id]) for s in stages if s.id in records},
        provenance=made_by,
    )


def _setting(builder: Builder) -> Setting:
    recipe = builder.recipe
    return Setting(
        data=recipe.data.name,
        data_note=recipe.data.note,
        network=recipe.network.architecture,
        width=recipe.network.width,
        n_test=len(builder.test_data),
    )


def _rows(builder: Builder, suite: str) -> dict[str, RowEntry]:
    recipe = builder.recipe
    rows = {}
    for name, row in recipe.rows(suite).items():
        perturbation = recipe.perturbations[row.perturbation]
        budget = row.model_dump(exclude={"attack", "perturbation"}, exclude_none=True)
        numbers = ", ".join(f"{key}={value}" for key, value in budget.items())
        text = f"{row.attack} in {perturbation}" + (f" with {numbers}" if numbers else "")
        rows[name] = RowEntry(attack=text, perturbation=described(perturbation))
    return rows


def _column(
    builder: Builder,
    name: str,
    stages: list[Stage],
    records: Mapping[str, StageRecord],
    suite: str,
) -> ColumnEntry:
    """Return where a model's outcomes are and what the model cost."""
    own = [s.id for s in stages if s.model == name and s.makes_a_model]
    spec = builder.recipe.trained.get(name)
    of_model = (s for s in stages if s.model == name and s.kind == "evaluate")
    evaluation = next(s for s in of_model if s.suite == suite)
    return ColumnEntry(
        outcomes=evaluation.output,
        seconds=records[evaluation.id].seconds,
        trained_on=f"{spec.objective}: {', '.join(spec.against)}" if spec else "",
        gate=records[evaluation.id].gate,
        training=_cost(own, records),
        training_with_parents=_cost(_ancestry(own, stages), records),
    )


def _cost(ids: list[str], records: Mapping[str, StageRecord]) -> Cost:
    """Return the sum of the passes and seconds of the stages that train a network."""
    found = [records[stage] for stage in ids]
    passes = [record.passes for record in found if record.passes]
    return Cost(
        forward=sum(p.forward for p in passes),
        backward=sum(p.backward for p in passes),
        seconds=round(sum(record.training_seconds for record in found), 3),
    )


def _ancestry(ids: list[str], stages: list[Stage]) -> list[str]:
    """Return the stages ``ids`` and all stages that they need, each once."""
    needs = {stage.id: stage.needs for stage in stages}
    found: dict[str, None] = {}
    queue = [*ids]
    while queue:
        stage = queue.pop()
        if stage not in found:
            found[stage] = None
            queue += needs[stage]
    return list(found)


def _stage(builder: Builder, stage: Stage, record: StageRecord) -> StageEntry:
    phase = phase_of(builder.recipe, stage.model, stage.kind)
    trained = phase or builder.recipe.trained.get(stage.model)
    against = trained.against if trained else ()
    measured = record.model_dump(include=_OF_RECORD, exclude_unset=True)
    return StageEntry(kind=stage.kind, model=stage.model, against=against, **measured)


def test_labels(builder: Builder) -> TestImages:
    """Return the test images in the order in which they are attacked."""
    images = builder.test_data
    return TestImages(
        classes=images.classes,
        labels=tuple(images.labels.tolist()),
        index=tuple(builder.test_rows.tolist()),
    )
