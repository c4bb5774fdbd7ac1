"""What a stage reads that may change while a run is in progress, with a checksum of each.

Processes read the data and the user's code anew. What they read must be what decided the key of the
stage: a run compares it before and after each stage.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from morex.core.trust import code_named
from morex.core.user_code import executed_sources
from morex.models.folder import WEIGHTS, ModelFolder
from morex.recipe.components import described
from morex.recipe.models import SavedModel
from morex.run.builder import Builder
from morex.run.directory import RunError
from morex.run.stages import Stage, folder_made_by

Inputs = Mapping[str, str]
"""Checksums by what they are of, in words."""


class ChangedInputError(RunError):
    """Something that a stage reads has changed while the run was in progress."""


def inputs_of(builder: Builder, stage: Stage) -> dict[str, str]:
    """Return checksums of what this process reads, and executes, for a stage.

    The weights that it reads from the run are not among them (``weights_read``).
    """
    return {**_code(builder), **_data(builder, stage), **_named(builder, stage)}


def weights_read(root: Path, stage: Stage) -> dict[str, str]:
    """Return checksums of the weights that a stage reads, by their files in the run directory.

    Raises:
        ModelError: if a model is missing or damaged.
    """
    folders = map(folder_made_by, stage.needs)
    return {f"{name}/{WEIGHTS}": ModelFolder.open(root / name).digest for name in folders}


def forms_read(root: Path, stages: Iterable[str]) -> dict[str, str]:
    """Return checksums of what the models of stages compute with their weights, by stage.

    Raises:
        ModelError: if a model is missing or damaged.
    """
    return {stage: ModelFolder.open(root / folder_made_by(stage)).form for stage in stages}


def check_same(stage: Stage, planned: Inputs, found: Inputs) -> None:
    """Raise unless a stage reads what was planned.

    Raises:
        ChangedInputError: with the name of the file and both of its versions.
    """
    for what in (*planned, *found):
        before, now = planned.get(what, "none"), found.get(what, "none")
        if before != now:
            raise ChangedInputError(
                f"{stage.id}: {what} changed while the run was in progress (version {before[:8]} "
                f"when it was planned, {now[:8]} now); run the same command again"
            )


def _code(builder: Builder) -> dict[str, str]:
    """Return the files of the user's code."""
    recipe = builder.recipe
    names = [*code_named([described(p) for p in recipe.perturbations.values()])]
    for model in recipe.models.values():
        if isinstance(model, SavedModel):
            names += builder.opened(model).code
    sources = (source for name in names for source in executed_sources(name).files)
    return {str(source.path): source.digest for source in sources}


def _data(builder: Builder, stage: Stage) -> dict[str, str]:
    training, test = builder.fingerprints
    place = builder.recipe.data.folder or builder.recipe.data.name
    if stage.makes_a_model:
        return {f"the training data in {place}": _digest(training)}
    return {f"the test data in {place}": _digest(test)}


def _named(builder: Builder, stage: Stage) -> dict[str, str]:
    """Return what the recipe names: perturbations, a suite and a model from elsewhere."""
    recipe, model = builder.recipe, builder.recipe.models[stage.model]
    found = {f"perturbation {n}": _digest(described(p)) for n, p in recipe.perturbations.items()}
    if stage.suite:
        use = recipe.evaluation.suites[stage.suite]
        attacks = builder.attacks(stage.suite)
        parts = {name: row.model_dump() for name, row in attacks.rows.items()}
        parts |= {f"over {name}": described(p) for name, p in attacks.perturbations.items()}
        found[f"the suite {use.file or stage.suite}"] = _digest(parts)
    if isinstance(model, SavedModel) and stage.makes_a_model:
        found[f"the model {model.model}"] = _digest(dict(builder.opened(model).identity))
    return found


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
