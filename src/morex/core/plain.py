"""Objects as plain JSON values that are the same in every process."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

_DEEPEST = 12
"""An object that is nested more deeply is told by its kind: it may hold itself."""


def plain(value: Any, depth: int = 0) -> Any:
    """Return what an object is made of as JSON values, to compare it with another one.

    Numbers and texts stay; a dataclass becomes its fields, a function its name, and any other
    object its class and attributes. A class with a ``revision`` computes something else than before
    with the same fields. No address in memory is in it, as in ``repr``.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has neither infinity nor NaN
    if depth > _DEEPEST:
        return {"kind": type(value).__qualname__}
    if isinstance(value, Mapping):
        return {str(key): plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, depth + 1) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return _object(value, depth + 1)


def _object(value: Any, depth: int) -> Any:
    if isinstance(value, FunctionType | BuiltinFunctionType | MethodType | type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, partial):
        given = {"kind": value.func, "args": value.args, **value.keywords}
        return plain(given, depth)
    revision = getattr(type(value), "revision", 0)
    kind = type(value).__qualname__ + (f" (revision {revision})" if revision else "")
    if is_dataclass(value):
        return {"kind": kind} | {
            f.name: plain(getattr(value, f.name), depth) for f in fields(value)
        }
    return {"kind": kind} | plain(getattr(value, "__dict__", {}), depth)


def first_difference(a: Any, b: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Return the place where two plain values differ first, and what is there; None if nowhere.

    What only one of them has is passed over: another version may have added it.
    """
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if not (isinstance(a, Mapping) and isinstance(b, Mapping) and a.get("kind") == b.get("kind")):
        return None if a == b else (place, a, b)
    for key in (key for key in a if key in b):
        if found := first_difference(a[key], b[key], f"{place}.{key}".lstrip(".")):
            return found
    return None
