"""The recipes that come with morex; to list them needs no torch."""

from importlib.resources import files
from typing import Any

from morex.recipe.read_yaml import parse_yaml


def shipped_recipes() -> dict[str, str]:
    """Return the names of the shipped recipes with their one-line descriptions."""
    names = sorted(file.name for file in _shipped().iterdir())
    recipes = (read_shipped(n.removesuffix(".yaml")) for n in names if n.endswith(".yaml"))
    return {recipe["name"]: recipe["description"] for recipe in recipes}


def read_shipped(name: str) -> Any:
    """Return the content of the shipped recipe ``name``."""
    file = f"{name}.yaml"
    return parse_yaml((_shipped() / file).read_text(encoding="utf-8"), file)


def _shipped() -> Any:
    return files("morex") / "recipe" / "shipped"
