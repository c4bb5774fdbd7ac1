"""How many images each class has, in words."""

from collections.abc import Sequence

import torch

from morex.artifacts.class_words import word_of
from morex.data.images import ImageSet

_MOST_LISTED = 12
"""Up to so many classes are listed with their counts; of more, the range of the counts is named."""


def in_classes(images: ImageSet) -> str:
    """Return for example ``300 images: ant (150), zebra (150)``.

    Of many classes the result is ``5,000 images of 99 classes, from 9 (ant) to 60 (bee) of each``.
    """
    counts, total = _counts(images), f"{len(images):,} image{'s' * (len(images) != 1)}"
    if len(counts) <= _MOST_LISTED:
        pairs = zip(map(word_of, images.classes), counts, strict=True)
        return f"{total}: " + ", ".join(f"{name} ({count})" for name, count in pairs)
    low, high = min(counts), max(counts)
    if low == high:
        return f"{total}, {low} of each of {len(counts)} classes"
    fewest, most = (word_of(images.classes[counts.index(end)]) for end in (low, high))
    return f"{total} of {len(counts)} classes, from {low} ({fewest}) to {high} ({most}) of each"


def absent_classes(images: ImageSet) -> tuple[str, ...]:
    """Return the classes of which there is no image."""
    return tuple(
        name for name, count in zip(images.classes, _counts(images), strict=True) if not count
    )


def _counts(images: ImageSet) -> Sequence[int]:
    counts: list[int] = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    return counts
