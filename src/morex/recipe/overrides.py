"""Overrides of a recipe: ``a.b=value``."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from morex.core.near import did_you_mean
from morex.recipe.errors import RecipeError
from morex.recipe.read_yaml import parse_yaml

_PARENTS = ("experts", "warm_start", "teacher", "of")
"""The keys of a model that name other models."""


def with_overrides(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a recipe that was read with ``a.b=value`` overrides applied.

    Raises:
        RecipeError: if one does not have that form, names no place in the recipe, or makes a
            model, perturbation or row that is not used: then its name is probably misspelt.
    """
    copy = deepcopy(dict(raw))
    for override in overrides:
        _override(copy, override)
    for path, used in (
        ("models", _models_used),
        ("perturbations", _perturbations_used),
        ("evaluation.rows", _rows_used),
    ):
        _check_new(path, _section(raw, path), _section(copy, path), {*used(copy)})
    return copy


def _override(raw: dict[str, Any], override: str) -> None:
    """Set one dotted path of ``raw``, in place."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"override {override!r}: expected KEY.KEY=VALUE")
    place = raw
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise RecipeError(f"override {override!r}: {key!r} holds a value, not a section")
    place[keys[-1]] = parse_yaml(text, f"override {override!r}: the value")


def _check_new(
    path: str, before: Mapping[str, Any], after: Mapping[str, Any], used: set[str]
) -> None:
    """Raise if overrides made a name in a section that nothing uses."""
    for name in after:
        if name not in before and name not in used:
            kind = path.rpartition(".")[2].removesuffix("s")
            raise RecipeError(
                f"override of {path}.{name}: the recipe has no {kind} {name!r}, and nothing uses "
                f"a new one; {did_you_mean(name, before)}there are {', '.join(before) or 'none'}"
            )


def _section(raw: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the section at a dotted path; empty if there is none."""
    place: Any = raw
    for key in path.split("."):
        place = place.get(key) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}


def _models_used(raw: Mapping[str, Any]) -> Iterator[str]:
    """Give the names of columns and of all models that others are made from."""
    yield from _names(raw.get("columns"))
    for name, model in _section(raw, "models").items():
        for key in _PARENTS if isinstance(model, dict) else ():
            yield from (parent for parent in _names(model.get(key)) if parent != name)


def _perturbations_used(raw: Mapping[str, Any]) -> Iterator[str]:
    """Give the names that models train on, rows attack, and compositions have as parts."""
    for section, key in (
        ("models", "against"),
        ("evaluation.rows", "perturbation"),
        ("perturbations", "parts"),
    ):
        for spec in _section(raw, section).values():
            yield from _names(spec.get(key)) if isinstance(spec, dict) else ()


def _rows_used(raw: Mapping[str, Any]) -> Iterator[str]:
    """Give the names of rows that name an attack."""
    for name, row in _section(raw, "evaluation.rows").items():
        if isinstance(row, dict) and "attack" in row:
            yield name


def _names(value: Any) -> Iterator[str]:
    """Give the names in a list, or the single one without a list."""
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str):
            yield name
