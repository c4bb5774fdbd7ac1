"""Numbers as recipes write them: strict, but for fractions and powers as text."""

import re
from fractions import Fraction
from typing import Any

from pydantic_core import core_schema

_DECIMAL = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMBER = re.compile(rf"\s*({_DECIMAL})\s*(?:/\s*({_DECIMAL})\s*)?")

_LARGEST = 2**53
"""The largest whole number, unless a field says otherwise: it is a float too."""

_NO_SCHEMA = ("default", "expected", "metadata", "serialization")
"""Parts of a schema that hold no schemas of values that are read."""


def read_number(value: Any) -> Any:
    """Return text such as ``8/255`` and ``1e-3`` as a number; keep other values."""
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return value
    try:
        return float(Fraction(found[1]) / Fraction(found[2] or 1))
    except (ValueError, ZeroDivisionError, OverflowError):
        return value


def with_strict_numbers(schema: Any) -> Any:
    """Return a schema of pydantic in which numbers are no booleans, and booleans no numbers.

    Booleans, and whole numbers up to 2^53, are taken as they are. Numbers are finite, and may be
    written as text (``read_number``).
    """
    if isinstance(schema, list | tuple):
        return type(schema)(with_strict_numbers(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind == "bool":
        return {**schema, "strict": True}
    if kind == "int":
        return {"le": _LARGEST, **schema, "strict": True}
    if kind == "float":
        finite = {**schema, "strict": True, "allow_inf_nan": False}
        return core_schema.no_info_before_validator_function(read_number, finite)
    return {
        key: part if key in _NO_SCHEMA else with_strict_numbers(part)
        for key, part in schema.items()
    }
