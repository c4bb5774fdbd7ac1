"""What is wrong with the form of a recipe, in words."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from morex.core.near import did_you_mean, not_among
from morex.recipe.inherited import origin
from morex.recipe.schema import Recipe

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number, such as 0.5 or 8/255",
    "finite_number": "a finite number",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "dict_type": "a section of keys",
    "dataclass_type": "a section of keys",
}
"""What a value should have been, by pydantic's kind of mistake."""

_METHODS = {
    "avg": "average",
    "sat": "one-drawn",
    "e-at": "drawn-by-error",
    "ramp": "max, with logit_pairing",
    "more": "side-by-side",
    "trades": "single, with trades: {beta: 6}",
    "n-fgsm": "single, with inner: {single_step: {noise: 2}}",
}
"""The objectives of methods, by the names of their papers."""

_TAGS = {"kind": "kind of perturbation", "attack": "attack"}
"""What the tag of a section stands for."""


def form_problems(error: ValidationError, content: Mapping[str, Any]) -> list[str]:
    """Return one line per mistake; mistakes in inherited values only where they were written."""
    problems = error.errors()
    paths = [_path(problem, content) for problem in problems]
    at_source = {(*p, _mistake(problem)) for p, problem in zip(paths, problems, strict=True)}
    lines: dict[str, None] = {}
    for path, problem in zip(paths, problems, strict=True):
        if (*origin(path), _mistake(problem)) not in at_source:
            lines[": ".join(filter(None, [".".join(path), _message(problem, path, content)]))] = (
                None
            )
    return list(lines)


def _path(problem: Any, content: Any) -> list[str]:
    """Return pydantic's location without the tags of unions, which are not in the recipe."""
    path: list[str] = []
    for position, key in enumerate(problem["loc"]):
        inside = isinstance(content, dict) and key in content
        inside = inside or (isinstance(content, list) and key in range(len(content)))
        if inside:
            content = content[key]
        is_missing_key = problem["type"] == "missing" and position == len(problem["loc"]) - 1
        if inside or is_missing_key:
            path.append(str(key))
    return path


def _mistake(problem: Any) -> str:
    """Return what tells a mistake from others at the same place, whichever model inherits it."""
    message: str = problem["msg"]
    if problem["type"] == "value_error":
        return message.partition(", got")[0]
    return f"{message} {problem.get('input')!r}"


def _message(problem: Any, path: list[str], content: Any) -> str:
    kind, got = problem["type"], problem.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown_key(str(problem["loc"][-1]), _at(content, path[:-1]))
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_not_found":
        return f"the key {problem['ctx']['discriminator']} is missing"
    if kind == "union_tag_invalid":
        return _unknown_tag(problem["ctx"])
    if kind in _EXPECTED and not isinstance(got, dict | list):
        return f"expected {_EXPECTED[kind]}, got {got!r}"
    message: str = problem["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return message
    message = message[0].lower() + message[1:]
    if kind in ("literal_error", "unknown_kind"):
        got = got.get("kind") if isinstance(got, dict) else got
        hint = did_you_mean(got, re.findall(r"[\w-]+", message)).strip()
        if path[-1:] == ["objective"] and (method := _METHODS.get(str(got).lower())):
            hint = f"{got} is objective: {method}"
        return "; ".join(filter(None, (f"{message}, got {got!r}", hint)))
    return message if isinstance(got, dict | list) else f"{message}, got {got!r}"


def _at(content: Any, path: list[str]) -> Any:
    for key in path:
        parts = enumerate(content) if isinstance(content, list) else content.items()
        content = {str(name): part for name, part in parts}[key]
    return content


def _unknown_tag(context: Mapping[str, Any]) -> str:
    """Return that no perturbation or attack has a name."""
    known = re.findall(r"'([^']*)'", context["expected_tags"])
    return not_among(_TAGS[context["discriminator"].strip("'")], context["tag"], known)


def _unknown_key(key: str, section: Mapping[str, Any]) -> str:
    """Return that a key is unknown, and which of those is near that the section may have."""
    beside = {*section} - {key}
    fitting = [keys for keys in _sections() if beside & keys == beside] or [*_sections()]
    hint = did_you_mean(key, sorted(frozenset().union(*fitting)))
    return f"unknown key; {hint}".strip().removesuffix(";")


@cache
def _sections() -> tuple[frozenset[str], ...]:
    """Return the keys of every section that a recipe may have."""
    return tuple(_keys_in(Recipe.model_json_schema()))


def _keys_in(schema: Any) -> Iterator[frozenset[str]]:
    """Give the keys of each section that a JSON schema describes."""
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
        yield frozenset(schema["properties"])
    parts = schema.values() if isinstance(schema, dict) else schema
    for part in parts if isinstance(schema, dict | list) else ():
        yield from _keys_in(part)
