"""Reading recipes: shipped ones by name, others by path, with dotted overrides."""

import difflib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from morex.recipe.checks import problems_of
from morex.recipe.errors import RecipeError
from morex.recipe.read_yaml import as_mapping, parse_yaml, read_yaml
from morex.recipe.schema import Recipe

_DEFAULTS = {"training": ("training", "gate_warmup"), "inner": ("inner",)}
"""The sections of a recipe that models inherit, and the sections of a model that inherit them."""

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number, such as 0.5 or 8/255",
    "finite_number": "a finite number",
}
"""What a value should have been, by pydantic's kind of mistake."""

_NOT_TRAINED = ("saved", "mean-of-experts", "largest-logit")
"""Kinds of models that inherit nothing."""


def shipped_recipes() -> dict[str, str]:
    """Return the names of the shipped recipes with their one-line descriptions."""
    found = {}
    for file in sorted(_shipped().iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            content = parse_yaml(file.read_text(encoding="utf-8"), file.name)
            found[content["name"]] = content["description"]
    return found


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a shipped name or a YAML file, with ``a.b=value`` overrides applied.

    Raises:
        RecipeError: if there is no such recipe, or if it or an override is wrong. All wrong keys
            and types are reported together, each with its path.
    """
    return parse_recipe(with_overrides(_read(name_or_path), overrides), name_or_path)


def with_overrides(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a recipe that was read with ``a.b=value`` overrides applied.

    Raises:
        RecipeError: if one does not have that form, or names no place in the recipe.
    """
    copy = deepcopy(dict(raw))
    for override in overrides:
        _override(copy, override)
    return copy


def parse_recipe(raw: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Return the recipe that ``raw`` holds.

    Args:
        raw: the content of a recipe file.
        source: where it comes from, for messages.

    Raises:
        RecipeError: as for ``load_recipe``.
    """
    content = _with_defaults(raw)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise _invalid(source, _problems(error, content)) from None
    if problems := problems_of(recipe):
        raise _invalid(source, problems)
    return recipe


def _invalid(source: str, problems: Sequence[str]) -> RecipeError:
    return RecipeError("\n  ".join((f"{source} is not a valid recipe:", *problems)))


def _shipped() -> Any:
    return files("morex.recipe") / "shipped"


def _read(name_or_path: str) -> dict[str, Any]:
    names = shipped_recipes()
    if name_or_path in names:
        name = f"{name_or_path}.yaml"
        content = parse_yaml((_shipped() / name).read_text(encoding="utf-8"), name)
    elif Path(name_or_path).is_file():
        content = read_yaml(Path(name_or_path))
    else:
        near = difflib.get_close_matches(name_or_path, names, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(
            f"no recipe {name_or_path!r}: {hint}it is neither a file nor one of the shipped "
            f"recipes {', '.join(names)}"
        )
    return as_mapping(content, name_or_path)


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


def _with_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in which the models inherit the sections ``training`` and ``inner``."""
    content = deepcopy(dict(raw))
    models = content.get("models")
    for model in models.values() if isinstance(models, dict) else ():
        if not isinstance(model, dict) or model.get("kind") in _NOT_TRAINED:
            continue
        for section, heirs in _DEFAULTS.items():
            default = content.get(section)
            inherited = default if isinstance(default, dict) else {}
            for heir in heirs:
                own = model.get(heir, {} if heir == section else None)
                if isinstance(own, dict):
                    model[heir] = {**inherited, **own}
    return content


def _problems(error: ValidationError, content: Mapping[str, Any]) -> list[str]:
    """Return one line per mistake; mistakes in inherited values only where they were written."""
    problems = error.errors()
    paths = [_path(problem, content) for problem in problems]
    at_source = {(*p, _mistake(problem)) for p, problem in zip(paths, problems, strict=True)}
    lines: dict[str, None] = {}
    for path, problem in zip(paths, problems, strict=True):
        if (*_origin(path), _mistake(problem)) not in at_source:
            lines[": ".join(filter(None, [".".join(path), _message(problem)]))] = None
    return list(lines)


def _path(problem: Any, content: Any) -> list[str]:
    """Return pydantic's location without the tags of unions, which are not in the recipe."""
    path: list[str] = []
    for position, key in enumerate(problem["loc"]):
        inside = isinstance(content, dict) and key in content
        inside = inside or (isinstance(content, list) and isinstance(key, int))
        if inside:
            content = content[key]
        is_missing_key = problem["type"] == "missing" and position == len(problem["loc"]) - 1
        if inside or is_missing_key:
            path.append(str(key))
    return path


def _origin(path: list[str]) -> list[str]:
    """Return the path in the recipe from which a model would inherit the value at ``path``."""
    for section, heirs in _DEFAULTS.items():
        if path[:1] == ["models"] and path[2:3] and path[2] in heirs:
            return [section, *path[3:]]
    return ["nowhere"]


def _mistake(problem: Any) -> str:
    """Return the message, for a whole section without its value, which differs between models."""
    message = _message(problem)
    return message.partition(", got")[0] if problem["type"] == "value_error" else message


def _message(problem: Any) -> str:
    kind, got = problem["type"], problem.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "unknown key"
    if kind == "missing":
        return "is missing"
    if kind in _EXPECTED and not isinstance(got, dict | list):
        return f"expected {_EXPECTED[kind]}, got {got!r}"
    message: str = problem["msg"].removeprefix("Value error, ")
    if isinstance(got, dict | list) or kind == "value_error":
        return message[0].lower() + message[1:] if kind != "value_error" else message
    return f"{message[0].lower()}{message[1:]}, got {got!r}"
