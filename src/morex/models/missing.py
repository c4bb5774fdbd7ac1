"""What may have been meant by the name of a model that is not there."""

import os
from pathlib import Path

from morex.artifacts.model_sets import shipped_sets
from morex.core.file_errors import near_file
from morex.core.near import did_you_mean

_DESCRIPTION = "model.json"


def shipped_names() -> tuple[str, ...]:
    """Return the name of every model that comes with morex."""
    sets = shipped_sets().items()
    return tuple(f"{name}/{model}" for name, found in sets for model in found.models)


def near_model(name: Path) -> str:
    """Return which model was probably meant, before the rest of a message; empty if none is near.

    Args:
        name: a folder without a model: a run, the folder ``models`` of a run, or one that does not
            exist; or a misspelt name of a shipped model.
    """
    if name.is_dir():
        return _models_in(name)
    if shipped := did_you_mean(os.fspath(name), (*shipped_sets(), *shipped_names())):
        return shipped
    near = near_file(name).removeprefix("; ")
    return near and near + (" " if near.endswith("?") else "; ")


def _models_in(folder: Path) -> str:
    for home in (folder, folder / "models"):
        models = sorted(path.parent for path in home.glob(f"*/{_DESCRIPTION}"))
        if models:
            names = ", ".join(model.name for model in models)
            return f"it holds several models, {names}; name one, such as {str(models[0])!r}; "
    return ""
