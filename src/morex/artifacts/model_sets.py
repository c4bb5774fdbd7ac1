"""Sets of models: a folder with a folder for each model, and ``set.json`` about all of them."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from morex.artifacts.schema import FolderName, Schema, problems
from morex.core.files import read_file
from morex.core.strict_json import parse_json

NAME = "set.json"


class SetError(ValueError):
    """The ``set.json`` of a set of models is damaged."""


@dataclass(frozen=True)
class ModelSet:
    """A set of trained models, each made by one recipe.

    Attributes:
        folder: the folder of the set.
        default: the model for which the name of the set stands.
        description: what was trained on what.
        recipe: how all models are evaluated, as keys of a recipe, instead of the recipe that each
            was saved with; None if each uses its own.
    """

    folder: Path
    default: str
    description: str = ""
    recipe: dict[str, Any] | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its models."""
        return tuple(sorted(p.name for p in self.folder.iterdir() if p.is_dir()))


class _SetFile(Schema):
    default: FolderName
    description: str = ""
    recipe: dict[str, Any] | None = None


def read_set(folder: Path) -> ModelSet | None:
    """Return the set of models in a folder; None if there is none.

    Raises:
        SetError: if its ``set.json`` is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        about = _SetFile.model_validate(parse_json(read_file(path)))
    except ValidationError as error:
        raise SetError(f"{path} is damaged: {problems(error)}") from None
    except (OSError, ValueError) as error:
        raise SetError(f"{path} is damaged: {error}") from None
    return ModelSet(folder, about.default, about.description, about.recipe)


def shipped_sets() -> dict[str, ModelSet]:
    """Return the sets that come with morex, by name."""
    home = Path(str(files("morex") / "models" / "pretrained"))
    found = (read_set(folder) for folder in sorted(home.glob("*")))
    return {each.folder.name: each for each in found if each}
