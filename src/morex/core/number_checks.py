"""Checks of the numbers that dataclasses are given."""

import math
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def check_numbers(config: Any, infinite: Collection[str] = ()) -> None:
    """Raise unless every number of a dataclass is of the declared type, and finite.

    Fields that are declared as int, float, bool, tuples of these, or one of these or None, are
    checked; others are not. An int is a float too, but a boolean is neither; numbers of NumPy
    count as numbers.

    Args:
        config: an instance of a dataclass.
        infinite: the fields that may be infinite.

    Raises:
        ValueError: if a field has another type, or is NaN or infinite.
    """
    hints = _hints(config.__class__)
    for field in fields(config):
        value = getattr(config, field.name)
        if problem := _problem(value, hints.get(field.name), field.name in infinite):
            raise ValueError(
                f"{type(config).__name__}: {field.name} must be {problem}, got {value!r}"
            )


@cache
def _hints(cls: Any) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except (NameError, TypeError):  # a user's annotation that cannot be evaluated
        return {}


def _problem(value: Any, hint: Any, infinite: bool) -> str:
    """Return what a value should be; nothing if it is that."""
    if hint in (int, bool, float):
        return _number_problem(value, hint, infinite)
    choices = get_args(hint)
    if get_origin(hint) in (UnionType, Union):
        return _choice_problem(value, choices, infinite)
    if get_origin(hint) is tuple:
        return _tuple_problem(value, choices, infinite)
    return ""


def _choice_problem(value: Any, choices: tuple[Any, ...], infinite: bool) -> str:
    """Return what a value should be that may be one of several; only ``X | None`` is checked."""
    first, *others = choices
    if value is None or others != [type(None)]:
        return ""
    problem = _problem(value, first, infinite)
    return problem and f"{problem}, or None"


def _tuple_problem(value: Any, parts: tuple[Any, ...], infinite: bool) -> str:
    """Return what a tuple should be, if it is none, or if its length or a part of it is wrong."""
    same = parts[1:] == (...,)
    if not isinstance(value, tuple | list):
        return "a tuple"
    if not same and len(value) != len(parts):
        return f"a tuple of {len(parts)}"
    expected = parts[:1] * len(value) if same else parts
    problems = (_problem(v, hint, infinite) for v, hint in zip(value, expected, strict=False))
    problem = next(filter(None, problems), "")
    return problem and f"a tuple, each part {problem}"


def _number_problem(value: Any, hint: type, infinite: bool) -> str:
    """Return what a value should be that is declared as int, bool or float."""
    if hint is bool:
        return "" if isinstance(value, bool) else "True or False"
    kind, name = (Integral, "a whole number") if hint is int else (Real, "a number")
    if isinstance(value, bool) or not isinstance(value, kind):
        return name
    if hint is int or _finite(value) or (infinite and value == value):
        return ""
    return "a finite number"


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False
