"""Names that are near to one that is not known."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[object]) -> str | None:
    """Return the known name that is most like ``name``, or None if none is; case is ignored."""
    by_lower = {str(other).lower(): str(other) for other in reversed([*known])}
    found = difflib.get_close_matches(str(name).lower(), by_lower, 1)
    return by_lower[found[0]] if found else None


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return ``did you mean 'clean'? `` with the nearest known name; empty if none is near."""
    near = nearest(name, known)
    return f"did you mean {near!r}? " if near is not None else ""


def hint(name: object, known: Iterable[object]) -> str:
    """Return ``; did you mean 'clean'?`` for the end of a message; empty if no name is near."""
    return f"; {did_you_mean(name, known)}".rstrip().removesuffix(";")


def not_among(what: str, name: object, known: Iterable[object]) -> str:
    """Return that ``what`` has no such name, which is near, and all there are."""
    names = [str(other) for other in known]
    there = ", ".join(names) or "none"
    return f"no {what} {name!r}; {did_you_mean(name, names)}there are {there}"
