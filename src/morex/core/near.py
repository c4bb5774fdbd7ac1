"""Names that are near to one that is not known."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return ``did you mean 'clean'? `` with the nearest known name; empty if none is near."""
    near = difflib.get_close_matches(str(name), [str(other) for other in known], 1)
    return f"did you mean {near[0]!r}? " if near else ""


def not_among(what: str, name: object, known: Iterable[object]) -> str:
    """Return that ``what`` has no such name, which is near, and all there are."""
    names = [str(other) for other in known]
    there = ", ".join(names) or "none"
    return f"no {what} {name!r}; {did_you_mean(name, names)}there are {there}"
