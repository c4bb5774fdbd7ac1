"""Classes: which are hard, and which are mistaken for each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from morex.artifacts.class_words import NOT_FINITE
from morex.core.units import percent, points
from morex.report.charts import DataTable, Figure, Heat, HeatCell, Panel, heat_chart
from morex.report.material import Material

_MOST = 12
"""If there are more classes, only the hardest and the easiest are shown."""

_EASY = 4
"""The number of easiest classes among those."""

Matrix = NDArray[np.int_]
"""Numbers of images by true and predicted class, (K, K + 1); answers of the last column are not
finite."""

Shares = dict[str, float | None]
"""Accuracy by row; None if a row has no image of the class."""


def hard_classes(material: Material, model: str) -> Figure | None:
    """Return the accuracy of a model by class and row, the hardest class on top."""
    by_class = _by_class(material, model)
    means = {
        label: float(np.mean([share for share in shares.values() if share is not None]))
        for label, shares in by_class.items()
        if None not in shares.values()
    }
    if len(means) < 2:
        return None
    order = sorted(means, key=lambda label: means[label])
    few = len(order) <= _MOST
    shown = order if few else [*order[: _MOST - _EASY], *order[-_EASY:]]
    rows = material.outcomes[model].rows
    heat = Heat(
        rows=[material.class_name(label) for label in shown],
        columns=rows,
        cells=[_class_cells(material.class_name(label), by_class[label]) for label in shown],
        aside=[f"{100 * means[label]:.0f}" for label in shown],
        aside_title="mean",
        cell=(40, 24),
        y_title="class",
    )
    chosen = "" if few else f" Of {len(order)} classes, only the hardest and the easiest are shown."
    return Figure(
        message=_hardest(material, model, means, order),
        note=f"Accuracy in % by true class, the hardest on top.{chosen}",
        panels=[Panel(heat_chart(heat, f"Accuracy of {model} by class and attack"))],
        numbers=DataTable(
            ["class", *rows, "mean"],
            [
                [
                    material.class_name(label),
                    *map(points, by_class[label].values()),
                    points(means[label]),
                ]
                for label in order
            ],
        ),
    )


def _by_class(material: Material, model: str) -> dict[int, Shares]:
    """Return accuracies by class and row; empty if there are fewer labels than outcomes."""
    right, labels = material.outcomes[model].right, np.array(material.labels)
    if len(labels) < max(map(len, right.values())):
        return {}
    return {
        int(label): {
            row: _share(found[labels[: len(found)] == label]) for row, found in right.items()
        }
        for label in np.unique(labels)
    }


def _share(right: NDArray[np.bool_]) -> float | None:
    return float(right.mean()) if len(right) else None


def _class_cells(name: str, shares: Shares) -> list[HeatCell | None]:
    return [
        None
        if share is None
        else HeatCell(share, f"{100 * share:.0f}", f"{name} under {row}: {percent(share)}")
        for row, share in shares.items()
    ]


def _hardest(
    material: Material, model: str, means: Mapping[int, float], order: Sequence[int]
) -> str:
    hard, easy = order[0], order[-1]
    return (
        f"{model}: {material.class_name(hard)} is the hardest class ({percent(means[hard])} on "
        f"average over the rows), {material.class_name(easy)} the easiest ({percent(means[easy])})"
    )


def confusions(material: Material, model: str) -> Figure | None:
    """Return which classes a model mistakes for each other, under every quick attack."""
    illustration = material.illustrations.get(model)
    if illustration is None or not illustration.answers:
        return None
    labels = illustration.labels
    said = max(int(answers.max()) for answers in illustration.answers.values())
    classes = max(len(material.classes), int(labels.max()) + 1, said + 1)
    counts = {row: confusion(labels, a, classes) for row, a in illustration.answers.items()}
    wrong = _wrong(counts)
    if not wrong:
        return None
    panels = [
        Panel(heat_chart(_confusion_heat(material, matrix), f"{row}: predicted by true class"), row)
        for row, matrix in counts.items()
        if classes <= _MOST
    ]
    shown = "Number of images by true class (down) and predicted class (across)."
    return Figure(
        message=_most_confused(material, model, wrong[0], labels),
        note=f"{len(labels)} test images, one quick run of each attack. {shown if panels else ''}",
        panels=panels,
        numbers=DataTable(
            ["attack", "true class", "predicted class", "images"],
            [
                [row, material.class_name(t), material.class_name(s), n]
                for n, row, t, s in wrong[:200]
            ],
        ),
    )


def confusion(labels: NDArray[np.int_], said: NDArray[np.int_], classes: int) -> Matrix:
    """Return the number of images by true and predicted class.

    Args:
        labels: the true classes, (n,).
        said: the predicted classes, (n,), or ``NOT_FINITE``, which is counted in the last column.
        classes: the number of classes K.
    """
    matrix = np.zeros((classes, classes + 1), dtype=np.int_)
    np.add.at(matrix, (labels, said), 1)
    return matrix


def _wrong(counts: Mapping[str, Matrix]) -> list[tuple[int, str, int, int]]:
    """Return count, row, true class and predicted class of all mistakes, most frequent first."""
    found = [
        (int(matrix[true, said]), row, int(true), _class_of(int(said), matrix))
        for row, matrix in counts.items()
        for true, said in zip(*np.nonzero(matrix), strict=True)
        if true != said
    ]
    return sorted(found, key=lambda mistake: (-mistake[0], *mistake[1:]))


def _class_of(column: int, matrix: Matrix) -> int:
    """Return the class that a column of a matrix counts, or ``NOT_FINITE``."""
    return NOT_FINITE if column == len(matrix) else column


def _most_confused(
    material: Material, model: str, worst: tuple[int, str, int, int], labels: NDArray[np.int_]
) -> str:
    count, row, true, said = worst
    if said == NOT_FINITE:
        of = int((labels == true).sum())
        return (
            f"{model}: its answer to {material.class_name(true)} is not finite {count} of {of} "
            f"times under {row}"
        )
    return (
        f"{model}: {material.class_name(true)} is most often mistaken for "
        f"{material.class_name(said)}, {count} of {int((labels == true).sum())} times under {row}"
    )


def _confusion_heat(material: Material, matrix: Matrix) -> Heat:
    names = [material.class_name(label) for label in range(len(matrix))]
    of_class = np.maximum(matrix.sum(1), 1)
    columns = [*names, *([material.class_name(NOT_FINITE)] if matrix[:, -1].any() else [])]
    return Heat(
        rows=names,
        columns=columns,
        cells=[
            [
                HeatCell(n / total, str(n), f"{n} images of class {true} predicted as {said}")
                if n
                else None
                for said, n in zip(columns, line.tolist(), strict=False)
            ]
            for true, line, total in zip(names, matrix, of_class.tolist(), strict=True)
        ],
        cell=(20 if matrix.max() < 100 else 26, 22),
        x_title="predicted",
        y_title="true",
    )
