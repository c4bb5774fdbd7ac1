"""What a row of outcomes was measured on and how, so that only like is compared with like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from morex.artifacts.schema import Schema
from morex.core.plain import first_difference


class Origin(Schema):
    """What decides a row of outcomes, apart from the model.

    Attributes:
        attack: the attack with all its parameters, as plain values.
        seed: of the random draws.
        batch_size: images attacked at a time, on which random draws depend.
        search_precision: number format in which the attack saw the model, ``fp32`` or ``bf16``.
            What it found was judged in float32.
        images: digests of the first images and their labels, by their number: 1, 2, 4, ..., and all
            of the row. So rows that cover different numbers of images can be compared.
    """

    attack: Any
    seed: int
    batch_size: int
    search_precision: Literal["fp32", "bf16"] = "fp32"
    images: dict[int, str]


Origins = Mapping[str, Origin]
"""By the name of a row."""


@dataclass(frozen=True)
class Difference:
    """The first thing in which two rows of the same name differ.

    Attributes:
        what: ``images``, ``attack``, ``seed``, ``batch_size`` or ``search_precision``.
        words: a clause that says what differs.
    """

    what: str
    words: str


def differences(first: Origin, second: Origin) -> list[Difference]:
    """Return in what two rows differ, apart from the model; images come first."""
    found = []
    if (count := _first_other_images(first, second)) is not None:
        words = f"the images or their labels differ (among the first {count})"
        found.append(Difference("images", words))
    if other := first_difference(first.attack, second.attack):
        place, a, b = other
        found.append(
            Difference("attack", f"{place or 'the attack'} is {_short(a)} and {_short(b)}")
        )
    for what in ("seed", "batch_size", "search_precision"):
        a, b = getattr(first, what), getattr(second, what)
        if a != b:
            found.append(Difference(what, f"{what} is {a} and {b}"))
    return found


def _first_other_images(first: Origin, second: Origin) -> int | None:
    """Return the least number of images at which the digests differ; None if they agree."""
    both = sorted(first.images.keys() & second.images.keys())
    other = [count for count in both if first.images[count] != second.images[count]]
    return other[0] if other else None


def _short(value: Any) -> str:
    """Return a plain value in a few words: an object by its kind."""
    return str(value["kind"] if isinstance(value, dict) and "kind" in value else value)


def unlike(first: Origins, second: Origins, rows: Sequence[str]) -> dict[str, Difference]:
    """Return the rows that differ in more than the model, with the first difference of each."""
    both = (row for row in rows if row in first and row in second)
    found = {row: differences(first[row], second[row]) for row in both}
    return {row: parts[0] for row, parts in found.items() if parts}
