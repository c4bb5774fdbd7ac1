"""The models that come with morex: trained sets, each made by one recipe.

A set is a folder in ``models/`` with a folder per model and ``set.json``: what it is, which model
stands for it, and how all are evaluated, whatever each was saved with.
"""

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from morex.hub import hub_model, on_hub


@dataclass(frozen=True)
class ShippedSet:
    """A set of trained models.

    Attributes:
        folder: where it is.
        description: what was trained on what.
        default: the model that the set's name stands for.
    """

    folder: Path
    description: str
    default: str

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its models."""
        return tuple(sorted(p.name for p in self.folder.iterdir() if p.is_dir()))


def shipped_sets() -> dict[str, ShippedSet]:
    """Return the sets by name."""
    home = Path(str(files("morex") / "models"))
    found = {}
    for path in sorted(home.glob("*/set.json")):
        about = json.loads(path.read_bytes())
        found[path.parent.name] = ShippedSet(path.parent, about["description"], about["default"])
    return found


def set_recipe(model: Path) -> dict[str, Any] | None:
    """Return how all models of a set are evaluated, from the folder of one; None outside of sets.

    It has the keys of a recipe that an evaluation needs.
    """
    path = model.parent / "set.json"
    if not path.is_file():
        return None
    recipe: dict[str, Any] | None = json.loads(path.read_bytes()).get("recipe")
    return recipe


def find_model(name: Path | str) -> Path:
    """Return the folder of a model: one on disk, a shipped one, or one on the hub.

    Args:
        name: a folder; or a shipped set such as ``cifar10-small``, which stands for its best
            mixture; or one of its models, such as ``cifar10-small/minf``; or ``hf://owner/name``.

    Raises:
        HubError: if it is on the hub and cannot be had.
    """
    if on_hub(os.fspath(name)):
        return hub_model(os.fspath(name))
    folder = Path(name)
    if folder.exists():
        return folder
    first, _, model = os.fspath(name).partition("/")
    known = shipped_sets()
    if first in known and (not model or model in known[first].models):
        return known[first].folder / (model or known[first].default)
    return folder
