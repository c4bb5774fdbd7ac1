"""New runs that go on from a finished one and share with it all that they can."""

import os
import shutil
from pathlib import Path
from typing import Any

from morex.recipe import Recipe, load_recipe
from morex.run.execute import run
from morex.run.stages import stage_id
from morex.run.store import RunError, Store

_SHARED = ("models", "outcomes", "illustrations", "stages")


def go_on_from(source: Path, recipe: Recipe, out: Path, **options: Any) -> None:
    """Do ``recipe`` in ``out``, where all finished stages of the run ``source`` count.

    Files are linked, or copied where the file system cannot; they are never changed in place. What
    is in ``out`` already stays: a call that was killed goes on where it was.

    Args:
        source: a run directory.
        recipe: what to do; stages that the source's recipe has too are not done again.
        out: the new run directory.
        **options: as of ``run``.

    Raises:
        RunError: if ``source`` and ``out`` are the same, or as ``run``.
    """
    if source.resolve() == out.resolve():
        raise RunError(f"{out} is the run to go on from; give --out another folder")
    out.mkdir(parents=True, exist_ok=True)
    with Store(out).locked():
        for part in _SHARED:
            if (source / part).is_dir():
                shutil.copytree(source / part, out / part, copy_function=_share, dirs_exist_ok=True)
    run(recipe, out, **options)


def recipe_of(source: Path) -> Recipe:
    """Return the recipe of a run.

    Raises:
        RunError: if it is no run directory.
    """
    path = source / "recipe.yaml"
    if not path.is_file():
        raise RunError(f"no run in {str(source)!r}: it has no recipe.yaml")
    return load_recipe(str(path))


def training_seconds(out: Path, model: str) -> float:
    """Return how long a model, or its gate, was trained, its experts not included."""
    records = (Store(out).record(stage_id(kind, model)) for kind in ("gate", "train"))
    return sum(record.training_seconds for record in records if record)


def _share(source: str, target: str) -> None:
    if os.path.exists(target):
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
