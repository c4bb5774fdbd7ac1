"""What a run writes for tables and reports."""

from collections.abc import Mapping
from typing import Any

from morex.artifacts.provenance import Provenance
from morex.artifacts.results import (
    FORMAT,
    ColumnEntry,
    Cost,
    ResultsFile,
    RowEntry,
    Setting,
    StageEntry,
)
from morex.artifacts.test_images import TestImages
from morex.recipe.components import described
from morex.recipe.schema import TrainedModel
from morex.run.builder import Workshop
from morex.run.stages import Stage, stage_id


def results(
    workshop: Workshop,
    stages: list[Stage],
    records: Mapping[str, Mapping[str, Any]],
    made_by: Provenance,
    suite: str = "",
) -> ResultsFile:
    """Return what is known so far.

    Args:
        workshop: the recipe and its data.
        stages: all stages of the run.
        records: the records of the finished ones, by id.
        made_by: the provenance of the process that writes.
        suite: a further suite, for a table of its own.
    """
    recipe = workshop.recipe
    evaluated = [name for name in recipe.columns if stage_id("evaluate", name, suite) in records]
    return ResultsFile(
        format=FORMAT,
        name=f"{recipe.name}, suite {suite}" if suite else recipe.name,
        seed=recipe.seed,
        setting=_setting(workshop),
        rows=_rows(workshop, suite),
        perturbations={name: described(p) for name, p in recipe.perturbations.items()},
        columns={name: _column(workshop, name, stages, records, suite) for name in evaluated},
        illustrations={
            s.model: s.output for s in stages if s.kind == "illustrate" and s.id in records
        },
        missing=tuple(name for name in recipe.columns if name not in evaluated),
        stages={s.id: _stage(workshop, s, records[s.id]) for s in stages if s.id in records},
        provenance=made_by,
    )


def _setting(workshop: Workshop) -> Setting:
    recipe = workshop.recipe
    return Setting(
        data=recipe.data.name,
        data_note=recipe.data.note,
        network=recipe.network.architecture,
        width=recipe.network.width,
        n_test=len(workshop.test_data),
    )


def _rows(workshop: Workshop, suite: str) -> dict[str, RowEntry]:
    recipe = workshop.recipe
    rows = {}
    for name, row in recipe.rows(suite).items():
        perturbation = recipe.perturbations[row.perturbation]
        budget = row.model_dump(exclude={"attack", "perturbation"}, exclude_none=True)
        numbers = ", ".join(f"{key}={value}" for key, value in budget.items())
        text = f"{row.attack} in {perturbation}" + (f" with {numbers}" if numbers else "")
        rows[name] = RowEntry(attack=text, perturbation=described(perturbation))
    return rows


def _column(
    workshop: Workshop,
    name: str,
    stages: list[Stage],
    records: Mapping[str, Mapping[str, Any]],
    suite: str,
) -> ColumnEntry:
    """Return where a model's outcomes are and what the model cost."""
    own = [s.id for s in stages if s.model == name and s.makes_a_model]
    spec = workshop.recipe.models[name]
    trained_on = (
        f"{spec.objective}: {', '.join(spec.against)}" if isinstance(spec, TrainedModel) else ""
    )
    of_model = (s for s in stages if s.model == name and s.kind == "evaluate")
    evaluation = next(s for s in of_model if s.suite == suite)
    return ColumnEntry(
        outcomes=evaluation.output,
        seconds=records[evaluation.id]["seconds"],
        trained_on=trained_on,
        gate=records[evaluation.id].get("gate"),
        training=_cost(own, records),
        training_with_parents=_cost(_ancestry(own, stages), records),
    )


def _cost(ids: list[str], records: Mapping[str, Mapping[str, Any]]) -> Cost:
    """Return the sum of the passes and seconds of the stages that train a network."""
    trained = [records[stage] for stage in ids if "passes" in records[stage]]
    return Cost(
        forward=sum(record["passes"]["forward"] for record in trained),
        backward=sum(record["passes"]["backward"] for record in trained),
        seconds=round(sum(record["seconds"] for record in trained), 3),
    )


def _ancestry(ids: list[str], stages: list[Stage]) -> list[str]:
    """Return the stages ``ids`` and all that they need, each once."""
    needs = {stage.id: stage.needs for stage in stages}
    found: dict[str, None] = {}
    queue = [*ids]
    while queue:
        stage = queue.pop()
        if stage not in found:
            found[stage] = None
            queue += needs[stage]
    return list(found)


def _stage(workshop: Workshop, stage: Stage, record: Mapping[str, Any]) -> StageEntry:
    peaks = {key: value for key, value in record.items() if key.startswith("peak_")}
    spec = workshop.recipe.models[stage.model]
    against = workshop.against(spec, stage.kind) if isinstance(spec, TrainedModel) else ()
    measured = {key: record[key] for key in ("seconds", "finished", "provenance")}
    return StageEntry(kind=stage.kind, model=stage.model, against=against, **peaks, **measured)


def test_labels(workshop: Workshop) -> TestImages:
    """Return the test images in the order in which they are attacked."""
    images = workshop.test_data
    return TestImages(
        classes=images.classes,
        labels=tuple(images.labels.tolist()),
        index=tuple(workshop.test_rows.tolist()),
    )
