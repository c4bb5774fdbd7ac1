"""What a run writes for tables and reports: ``results.json``, format 1."""

from collections.abc import Mapping
from typing import Any

from morex.recipe.components import described
from morex.recipe.schema import TrainedModel
from morex.run.builder import Workshop
from morex.run.stages import Stage, stage_id


def results(
    workshop: Workshop,
    stages: list[Stage],
    records: Mapping[str, Mapping[str, Any]],
    made_by: Mapping[str, Any],
    suite: str = "",
) -> dict[str, Any]:
    """Return what is known so far, as JSON values.

    Args:
        workshop: the recipe and its data.
        stages: all stages of the run.
        records: the records of the finished ones, by id.
        made_by: the provenance of the process that writes.
        suite: a further suite, for a table of its own.
    """
    recipe = workshop.recipe
    evaluated = [name for name in recipe.columns if stage_id("evaluate", name, suite) in records]
    return {
        "format": 1,
        "name": f"{recipe.name}, suite {suite}" if suite else recipe.name,
        "seed": recipe.seed,
        "setting": {
            "data": recipe.data.name,
            "data_note": recipe.data.note,
            "network": recipe.network.architecture,
            "width": recipe.network.width,
            "n_test": len(workshop.test_data),
        },
        "rows": _rows(workshop, suite),
        "perturbations": {name: described(p) for name, p in recipe.perturbations.items()},
        "columns": {name: _column(workshop, name, stages, records, suite) for name in evaluated},
        "illustrations": {
            s.model: s.output for s in stages if s.kind == "illustrate" and s.id in records
        },
        "missing": [name for name in recipe.columns if name not in evaluated],
        "stages": {s.id: _stage(workshop, s, records[s.id]) for s in stages if s.id in records},
        "provenance": dict(made_by),
    }


def _rows(workshop: Workshop, suite: str) -> dict[str, Any]:
    recipe = workshop.recipe
    rows = {}
    for name, row in recipe.rows(suite).items():
        perturbation = recipe.perturbations[row.perturbation]
        budget = row.model_dump(exclude={"attack", "perturbation"}, exclude_none=True)
        numbers = ", ".join(f"{key}={value}" for key, value in budget.items())
        text = f"{row.attack} in {perturbation}" + (f" with {numbers}" if numbers else "")
        rows[name] = {"attack": text, "perturbation": described(perturbation)}
    return rows


def _column(
    workshop: Workshop,
    name: str,
    stages: list[Stage],
    records: Mapping[str, Mapping[str, Any]],
    suite: str,
) -> dict[str, Any]:
    """Return where a model's outcomes are and what the model cost."""
    own = [s.id for s in stages if s.model == name and s.makes_a_model]
    spec = workshop.recipe.models[name]
    trained_on = (
        f"{spec.objective}: {', '.join(spec.against)}" if isinstance(spec, TrainedModel) else ""
    )
    of_model = (s for s in stages if s.model == name and s.kind == "evaluate")
    evaluation = next(s for s in of_model if s.suite == suite)
    return {
        "outcomes": evaluation.output,
        "seconds": records[evaluation.id]["seconds"],
        "trained_on": trained_on,
        "gate": records[evaluation.id].get("gate"),
        "training": _cost(own, records),
        "training_with_parents": _cost(_ancestry(own, stages), records),
    }


def _cost(ids: list[str], records: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the sum of the passes and seconds of stages that train; putting together is none."""
    total = {"forward": 0, "backward": 0, "seconds": 0.0}
    for stage in ids:
        if "passes" not in records[stage]:
            continue
        total["seconds"] = round(total["seconds"] + records[stage]["seconds"], 3)
        for kind, count in records[stage]["passes"].items():
            total[kind] += count
    return total


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


def _stage(workshop: Workshop, stage: Stage, record: Mapping[str, Any]) -> dict[str, Any]:
    peaks = {key: value for key, value in record.items() if key.startswith("peak_")}
    spec = workshop.recipe.models[stage.model]
    against = workshop.against(spec, stage.kind) if isinstance(spec, TrainedModel) else ()
    about = {"kind": stage.kind, "model": stage.model, "against": list(against)}
    return about | peaks | {key: record[key] for key in ("seconds", "finished", "provenance")}


def test_labels(workshop: Workshop) -> dict[str, Any]:
    """Return the names of the classes, and of every test image its class and its index in the data.

    The images are in the order in which they are attacked.
    """
    images, index = workshop.test_data, workshop.test_rows
    return {
        "classes": list(images.classes),
        "labels": images.labels.tolist(),
        "index": index.tolist(),
    }
