"""Levels of guessing, and models that do no better: they win nothing in tables and pages.

A model is collapsed if one of two rules says so.

1. It predicts one class for nearly everything: of the clean images that are not of this class, it
   predicts another class for at most as many as a tenth.
2. Its accuracy on clean images is not above that of always predicting the most frequent class: it
   gains less than a tenth of what there is to gain, and the gain is not significant (McNemar's
   exact test on the same images, p < 0.05). The rule is silent if there are so few images that even
   a model without errors could not gain significantly.

The rules need the labels of the test images; the first one also needs the predictions per class,
which older runs lack. What cannot be judged is not called collapsed.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from morex.artifacts.class_words import word_of
from morex.artifacts.labels import TestImages
from morex.artifacts.results import ColumnEntry
from morex.artifacts.statistics import BoolArray, Comparison
from morex.core.units import percent
from morex.report.results import RunResults

_FEW = 0.1
"""The share of what there is to predict or to gain below which a model does neither."""

_CHANCE = 0.05
_FEWEST = 6
"""With fewer images of other classes, no model can be significantly better: 2 / 2**5 > 0.05."""


@dataclass(frozen=True)
class Levels:
    """What guessing gets right.

    Attributes:
        classes: the number of classes K.
        chance: the expected share for a class drawn at random, 1 / K.
        majority: the share of the most frequent class among the test images.
        class_name: the name of that class.
    """

    classes: int
    chance: float
    majority: float
    class_name: str


def levels(images: TestImages) -> Levels | None:
    """Return the levels of guessing on these images; None if their labels are unknown."""
    if not images.labels:
        return None
    (label, count), *_ = Counter(images.labels).most_common(1)
    classes = len(images.classes) or max(images.labels) + 1
    name = _name(images, label)
    return Levels(classes, 1 / classes, count / len(images.labels), name)


def collapsed(results: RunResults) -> dict[str, str]:
    """Return why a model is called collapsed, for the models that are."""
    row = next(
        (n for n, r in results.file.rows.items() if r.perturbation.get("kind") == "clean"), ""
    )
    found: dict[str, str] = {}
    for name, entry in results.file.columns.items():
        right = results.outcomes[name].right.get(row)
        reason = _one_class(entry, results.images) or _no_better(right, results.images)
        if reason:
            found[name] = reason
    return found


def _one_class(entry: ColumnEntry, images: TestImages) -> str:
    answers, n = entry.answers, len(images.labels)
    if not n or not sum(answers):
        return ""
    most = max(range(len(answers)), key=answers.__getitem__)
    others = n - images.labels.count(most)
    if not others or sum(answers) - answers[most] > _FEW * others:
        return ""
    share = percent(answers[most] / sum(answers))
    return f"it predicts {_name(images, most)} for {share} of the clean images"


def _no_better(right: BoolArray | None, images: TestImages) -> str:
    if right is None or len(images.labels) < len(right):
        return ""
    labels = np.array(images.labels[: len(right)])
    majority = labels == Counter(labels.tolist()).most_common(1)[0][0]
    if int((~majority).sum()) < _FEWEST:
        return ""
    compared = Comparison.of(right, majority)
    gain = compared.first - compared.second
    if gain >= _FEW * (1 - compared.second) or (gain > 0 and compared.p < _CHANCE):
        return ""
    words = f"its accuracy on clean images, {percent(compared.first)}, is not above"
    return f"{words} the majority level, {percent(compared.second)}"


def _name(images: TestImages, label: int) -> str:
    known: Mapping[int, str] = dict(enumerate(map(word_of, images.classes)))
    return known.get(label, f"class {label}")
