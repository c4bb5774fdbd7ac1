"""New runs that continue a finished one and reuse its stages."""

import os
import shutil
from pathlib import Path
from typing import Any

from morex.core.file_errors import near_file
from morex.core.files import digest_of
from morex.recipe import Recipe, load_recipe
from morex.run.directory import RunDirectory, RunError
from morex.run.events import ignore
from morex.run.execute import run
from morex.run.stages import stage_id
from morex.run.storage import opened, working_folder


def continue_run(source: Path, recipe: Recipe, out: Path | str, **options: Any) -> None:
    """Do ``recipe`` in the new run ``out``, which reuses the finished stages of the run ``source``.

    The files of ``source`` are linked, or copied where the file system has no links; they are never
    changed in place. Stages that ``out`` already has are kept, so the same call resumes a run that
    was killed, at any moment.

    Args:
        source: a run directory.
        recipe: what to do; stages that the recipe of ``source`` also has are not done again.
        out: the new run directory, or its URL.
        **options: further arguments of ``run``.

    Raises:
        RunError: if ``source`` and ``out`` are the same, and in all cases in which ``run`` does.
    """
    if source.resolve() == working_folder(out).resolve():
        raise RunError(f"{out} is the run to continue; give --out another folder")
    with opened(out, options.get("observer", ignore)) as (directory, _):
        for path in sorted((source / "stages").glob("*.json")):
            _take_over(RunDirectory(source), path.stem, directory)
    run(recipe, out, **options)


def _take_over(source: RunDirectory, stage: str, out: RunDirectory) -> None:
    """Give ``out`` a finished stage of ``source``, unless it has the stage: its record last."""
    record = source.record(stage)
    if record is None or out.record(stage):
        return
    for name, digest in record.files.items():
        target = out.root / name
        if not target.is_file() or digest_of(target) != digest:
            _link(source.root / name, target)
    _link(source.record_path(stage), out.record_path(stage))


def recipe_of(source: Path, *, trust_code: bool = False) -> Recipe:
    """Return the recipe of a run.

    Args:
        source: the run directory.
        trust_code: whether code that the recipe names may run. Otherwise it may only if this user's
            morex wrote the recipe here.

    Raises:
        RunError: if ``source`` is not a run directory.
        UntrustedCodeError: if the recipe names code that must not run.
    """
    path = source / "recipe.yaml"
    if not path.is_file():
        raise RunError(f"no run in {str(source)!r}{near_file(source)}: it has no recipe.yaml")
    return load_recipe(str(path), trust_code=trust_code)


def training_seconds(out: Path, model: str) -> float:
    """Return how long a model and its gate were trained, without its experts."""
    records = (RunDirectory(out).record(stage_id(kind, model)) for kind in ("gate", "train"))
    return sum(record.training_seconds for record in records if record)


def _link(source: Path, target: Path) -> None:
    """Link or copy a file, if it exists, to ``target``: wholly or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{os.getpid()}.part")
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except FileNotFoundError:  # the run will miss it too, and do its stage again
        return
    except OSError:
        shutil.copyfile(source, new)
    os.replace(new, target)
