"""Reading JSON that a stranger may have written."""

import json
import math
from typing import Any, NoReturn

from morex.core.units import printable

_MOST_BYTES = 64 * 2**20
_DEEPEST = 100


def parse_json(content: bytes) -> Any:
    """Return what JSON stands for.

    Raises:
        ValueError: if it is no JSON in UTF-8, has more than 64 MiB or is nested more than 100 deep,
            or if a number is not finite or does not fit 64 bits.
    """
    if len(content) > _MOST_BYTES:
        raise ValueError(f"expected at most {_MOST_BYTES} bytes, got {len(content)}")
    try:
        value = json.loads(
            content.decode(),  # json.loads would also accept UTF-16 and UTF-32
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError:
        raise _too_deep() from None
    check_depth(value)
    return value


def printable_texts(value: Any) -> Any:
    """Return JSON in which control characters of all texts are escaped, for showing it."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [*map(printable_texts, value)]
    if isinstance(value, dict):
        return {printable(key): printable_texts(inner) for key, inner in value.items()}
    return value


def check_depth(value: Any) -> None:
    """Raise ``ValueError`` if lists and dictionaries are nested more than 100 deep."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                inner.extend(part.values())
            elif isinstance(part, list | tuple):
                inner.extend(part)
        level = inner
    if level:
        raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {_DEEPEST} deep")


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _whole(text: str) -> int:
    # 19 digits first: Python refuses to convert thousands, with advice that does not fit
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"{text[:20]} does not fit 64 bits")
    return int(text)
