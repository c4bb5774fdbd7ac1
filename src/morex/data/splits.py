"""Which part of a data set trains and which part tests."""

import re
from collections.abc import Collection
from pathlib import Path

from morex.data.errors import DataError

TRAIN = "train"
VALIDATION_NAMES = ("validation", "valid", "val")
TEST_NAMES = ("test", *VALIDATION_NAMES)
"""Splits that may serve as the test set, the preferred one first."""

_SPLIT = re.compile(rf"({TRAIN}|{'|'.join(TEST_NAMES)})(?![a-z])", re.IGNORECASE)


def split_named(name: str) -> str | None:
    """Return the split that a file or folder name starts with, or None."""
    match = _SPLIT.match(name)
    return match[1].lower() if match else None


def choose_test(found: Collection[str], folder: Path, wanted: tuple[str, ...] = TEST_NAMES) -> str:
    """Return the name of the split to test on: the first of ``wanted`` that was found.

    Raises:
        DataError: if there is no train split, or none to test on.
    """
    there = ", ".join(sorted(found)) or "no split at all"
    if TRAIN not in found:
        raise DataError(f"{folder}: no {TRAIN!r} split, found {there}; add files of that name")
    for name in wanted:
        if name in found:
            return name
    raise DataError(
        f"{folder}: no split to test on, found {there}; add one called {' or '.join(wanted)}"
    )
