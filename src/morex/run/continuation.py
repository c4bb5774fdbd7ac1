"""New runs that continue a finished one and reuse its stages."""

import os
import shutil
from pathlib import Path
from typing import Any

from morex.recipe import Recipe, load_recipe
from morex.run.directory import RunDirectory, RunError
from morex.run.execute import run
from morex.run.stages import stage_id

_SHARED = ("models", "outcomes", "illustrations", "stages")


def continue_run(source: Path, recipe: Recipe, out: Path, **options: Any) -> None:
    """Do ``recipe`` in the new run ``out``, which reuses the finished stages of the run ``source``.

    The files of ``source`` are linked, or copied where the file system has no links; they are never
    changed in place. Files that ``out`` already has are kept, so the same call resumes a run that
    was killed.

    Args:
        source: a run directory.
        recipe: what to do; stages that the recipe of ``source`` also has are not done again.
        out: the new run directory.
        **options: further arguments of ``run``.

    Raises:
        RunError: if ``source`` and ``out`` are the same, and in all cases in which ``run`` does.
    """
    if source.resolve() == out.resolve():
        raise RunError(f"{out} is the run to continue; give --out another folder")
    with RunDirectory(out).locked():
        for part in _SHARED:
            if (source / part).is_dir():
                shutil.copytree(source / part, out / part, copy_function=_link, dirs_exist_ok=True)
    run(recipe, out, **options)


def recipe_of(source: Path) -> Recipe:
    """Return the recipe of a run.

    Raises:
        RunError: if ``source`` is not a run directory.
    """
    path = source / "recipe.yaml"
    if not path.is_file():
        raise RunError(f"no run in {str(source)!r}: it has no recipe.yaml")
    return load_recipe(str(path))


def training_seconds(out: Path, model: str) -> float:
    """Return how long a model and its gate were trained, without its experts."""
    records = (RunDirectory(out).record(stage_id(kind, model)) for kind in ("gate", "train"))
    return sum(record.training_seconds for record in records if record)


def _link(source: str, target: str) -> None:
    """Link or copy a file, unless the target exists."""
    if os.path.exists(target):
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
