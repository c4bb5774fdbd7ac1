"""Which part of a data set is for training and which for testing."""

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from morex.core.seeding import generator_for
from morex.data.errors import DataError

TRAIN = "train"
VALIDATION_NAMES = ("validation", "valid", "val")
TEST_NAMES = ("test", *VALIDATION_NAMES)
"""The splits that can be the test set, in order of preference."""


def as_split(name: str) -> str | None:
    """Return the split that ``name`` is, in lower or upper case; None if it is not one."""
    return name.lower() if name.lower() in (TRAIN, *TEST_NAMES) else None


def choose_test(found: Collection[str], folder: Path, wanted: tuple[str, ...] = TEST_NAMES) -> str:
    """Return the name of the split to test on: the first of ``wanted`` that was found.

    Raises:
        DataError: if there is no train split, or none to test on.
    """
    there = ", ".join(sorted(found)) or "no split at all"
    if TRAIN not in found:
        raise DataError(f"{folder}: no {TRAIN!r} split, found {there}; add files with that name")
    for name in wanted:
        if name in found:
            return name
    raise DataError(
        f"{folder}: no split to test on, found {there}; add one called {' or '.join(wanted)}"
    )


def test_order(count: int) -> Tensor:
    """Return the order in which ``count`` test images are used, the same in all runs: (count,).

    It is random, so that every prefix is a random sample.
    """
    return torch.randperm(count, generator=generator_for(0, "test order"))
