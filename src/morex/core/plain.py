"""Objects as plain JSON values that are the same in every process."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any


def plain(value: Any) -> Any:
    """Return what an object is made of as JSON values, to compare it with another one.

    Numbers and texts stay; a dataclass becomes its fields, a function its name, and any other
    object its class and attributes. No address in memory is in it, as in ``repr``.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has neither infinity nor NaN
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return _object(value)


def _object(value: Any) -> Any:
    if isinstance(value, FunctionType | BuiltinFunctionType | MethodType | type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, partial):
        return {"kind": plain(value.func), "args": plain(value.args), **plain(value.keywords)}
    kind = type(value).__qualname__
    if is_dataclass(value):
        return {"kind": kind} | {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return {"kind": kind} | plain(getattr(value, "__dict__", {}))


def first_difference(a: Any, b: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Return the place where two plain values differ first, and what is there; None if nowhere.

    What only one of them has is passed over: another version may have added it.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.get("kind") == b.get("kind"):
        for key in (key for key in a if key in b):
            found = first_difference(a[key], b[key], f"{place}.{key}" if place else key)
            if found:
                return found
        return None
    return None if a == b else (place, a, b)
