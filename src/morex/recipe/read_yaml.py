"""Reading and writing YAML: the core schema of YAML 1.2 with merge keys.

``yes``, ``on``, ``1:30``, ``1_000`` and ``2024-01-01`` are text, ``010`` is ten, ``0o17`` is
fifteen and ``1e-3`` is a number. Keys are text, and each is there once. Values that are written
with an alias are copies: a change to one does not reach the others.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from morex.core.file_errors import reason
from morex.core.files import read_file
from morex.recipe.errors import RecipeError

_MOST_VALUES = 200_000
"""So many values may a file have, aliases written out: a few lines of aliases make billions."""

_NAMES = {list: "a list", bool: "a boolean", int: "a number", float: "a number"}

_CORE = "tag:yaml.org,2002:"
_MERGE = "<<"


def _whole(text: str) -> int:
    digits = text.lower()
    base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
    return int(digits[2:] if base != 10 else digits, base)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_PLAIN: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": (r"(?:~|null|Null|NULL|)", lambda _: None),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", lambda text: text.lower() == "true"),
    "int": (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", _whole),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        _float,
    ),
}
"""What text without quotes stands for, by tag: a pattern, and the value. The first that fits."""


class _Loader(yaml.SafeLoader):
    """Gives text without quotes the tags of the core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    """Puts text into quotes that would be something else in YAML 1.1 or in YAML 1.2."""


for _tag, (_pattern, _) in _PLAIN.items():
    _fits = re.compile(rf"{_pattern}\Z")
    _Loader.add_implicit_resolver(f"{_CORE}{_tag}", _fits, None)
    _Dumper.add_implicit_resolver(f"{_CORE}{_tag}", _fits, None)


def read_yaml(path: Path) -> Any:
    """Return what a file of UTF-8 text holds.

    Raises:
        RecipeError: if it cannot be read as text, or as for ``parse_yaml``.
    """
    try:
        text = read_file(path).decode()
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} cannot be read as text: {error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Return what YAML text stands for, as dictionaries, lists, text, numbers, booleans and None.

    Args:
        text: one document.
        source: where the text comes from, for messages.

    Raises:
        RecipeError: if it is not valid YAML, if a key is there twice or is no text, or if its
            aliases stand for too many values. The message has the line.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            return None
        _check_size(root, {})
        return _value(root)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} is not valid YAML: {_said(error)}") from None
    except RecursionError:
        raise RecipeError(f"{source} is not valid YAML: it is nested too deeply") from None


def as_mapping(content: Any, source: str) -> dict[str, Any]:
    """Return what a file holds, if it is a mapping.

    Raises:
        RecipeError: if it is anything else, or nothing.
    """
    if not isinstance(content, dict):
        got = "it is empty" if content is None else f"got {_NAMES.get(type(content), 'text')}"
        raise RecipeError(f"{source}: expected a mapping of keys to values, {got}")
    return content


def to_yaml(content: Any) -> str:
    """Return content as YAML that reads back as the same, here and with YAML 1.1."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)


def _said(error: yaml.YAMLError) -> str:
    """Return a mistake with its line."""
    mark = getattr(error, "problem_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return " ".join(str(error).split())
    problem = error.problem or error.context or "it cannot be read"
    if r"'\t'" in problem:
        problem = f"{problem}; indent with spaces"
    if isinstance(error, yaml.composer.ComposerError) and "another document" in problem:
        problem = "a second document begins here; expected one document"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _mistake(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node stands for, aliases written out.

    Raises:
        MarkedYAMLError: if they are too many, or the node is a part of itself.
    """
    known = sizes.get(id(node))
    if known == 0:
        raise _mistake(node, "this value is a part of itself")
    if known is None:
        sizes[id(node)] = 0  # while its parts are counted
        known = 1 + sum(_check_size(child, sizes) for child in _children(node))
        if known > _MOST_VALUES:
            raise _mistake(node, f"with its aliases, this is more than {_MOST_VALUES:,} values")
        sizes[id(node)] = known
    return known


def _value(node: yaml.Node) -> Any:
    """Return what a node stands for; nodes that aliases share give separate values."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_CORE}map":
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_CORE}seq":
        return [_value(child) for child in node.value]
    raise _mistake(node, f"the tag {node.tag!r} is not known; remove it")


def _scalar(node: yaml.ScalarNode) -> Any:
    tag = node.tag.removeprefix(_CORE)
    if tag == "str":
        return node.value
    if tag not in _PLAIN:
        raise _mistake(node, f"the tag {node.tag!r} is not known; remove it")
    pattern, value = _PLAIN[tag]
    if not re.fullmatch(pattern, node.value):
        raise _mistake(node, f"{node.value!r} is no {tag}")
    try:
        return value(node.value)
    except ValueError:  # Python limits the digits of a number
        raise _mistake(node, f"a number of {len(node.value)} digits is too long") from None


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    """Return a mapping: what it merges in, and over it what it has itself."""
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = _key(key_node), key_node.start_mark.line + 1
        if key in lines:
            where = f"first on line {lines[key]}, again on line {line}"
            raise _mistake(key_node, f"the key {key!r} is there twice, {where}; remove one")
        lines[key] = line
        if key == _MERGE and key_node.style is None:
            merged = _merged(value_node)
        else:
            own[key] = _value(value_node)
    return {**merged, **own}


def _key(node: yaml.Node) -> str:
    key = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(key, str):
        return key
    if isinstance(node, yaml.ScalarNode) and node.value:
        raise _mistake(node, f"the key {node.value} is no text; write '{node.value}' in quotes")
    raise _mistake(node, "expected text as a key")


def _merged(node: yaml.Node) -> dict[str, Any]:
    """Return what a merge key takes in: a mapping, or several, of which the first wins."""
    sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
    merged: dict[str, Any] = {}
    for source in sources:
        if not isinstance(source, yaml.MappingNode):
            raise _mistake(source, "<< merges in mappings only")
        merged = {**_mapping(source), **merged}
    return merged
