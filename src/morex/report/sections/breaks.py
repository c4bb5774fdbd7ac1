"""Which attack broke which example: overlaps of attacks, hard classes, confusions."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from morex.outcomes import Outcomes
from morex.report.charts import (
    DataTable,
    Figure,
    Heat,
    Overlap,
    Panel,
    heat_chart,
    upset_chart,
)
from morex.report.charts.svg import percent
from morex.report.material import Material
from morex.report.sections.base import Section, listed
from morex.report.sections.summary import ranked

_OVERLAPS = 16
_CLASSES = 12
"""More classes than these are shown by their extremes."""


def breaks_section(material: Material) -> Section | None:
    """Return overlaps, hard classes and confusions of the model that the page is about."""
    lead = material.lead
    if lead is None:
        return None
    models = dict.fromkeys([lead, *(name for name, _ in _unions(material)[:1])])
    figures = [_overlaps(name, material.outcomes[name]) for name in models]
    figures += [_hard_classes(material, lead), _confusions(material, lead)]
    found = [figure for figure in figures if figure]
    words = "An image counts as broken by an attack if the model is wrong on what the attack made."
    return Section("breaks", "Which attack broke which image", words, found) if found else None


def _unions(material: Material) -> list[tuple[str, float]]:
    return ranked(material.table, [c.value if c else None for c in material.table.union])


def overlaps(outcomes: Outcomes) -> tuple[list[Overlap], dict[str, int], int]:
    """Return the exclusive overlaps, the largest first, the attacks' sizes, and the number of images.

    Only the images that every row covers count. An overlap of no attack is what stands.
    """
    total = min(map(len, outcomes.right.values()))
    broken = np.stack([~right[:total] for right in outcomes.right.values()], axis=1)
    patterns, counts = np.unique(broken, axis=0, return_counts=True)
    rows = np.array(outcomes.rows)
    found = [
        Overlap(tuple(rows[pattern].tolist()), int(count))
        for pattern, count in zip(patterns, counts, strict=True)
    ]
    found.sort(key=lambda overlap: (-overlap.count, len(overlap.sets), overlap.sets))
    sizes = dict(zip(outcomes.rows, broken.sum(0).tolist(), strict=True))
    return found, sizes, total


def _overlaps(name: str, outcomes: Outcomes) -> Figure | None:
    found, sizes, total = overlaps(outcomes)
    if len(sizes) < 2:
        return None
    shown = found[:_OVERLAPS]
    hidden = len(found) - len(shown)
    more = f" {hidden} rarer combinations are in the table only." if hidden else ""
    drawing = upset_chart(sizes, shown, total, f"Which attacks break the same images of {name}")
    return Figure(
        message=f"{name}: {_overlap_message(found, sizes, total)}",
        note=(
            f"{total} test images, those that every row covers. A column is a set of attacks (filled "
            "dots), its bar the images that exactly these break; no filled dot: nothing breaks "
            f"them.{more}"
        ),
        panels=[Panel(drawing)],
        numbers=DataTable(
            ["broken by exactly", "images"],
            [[", ".join(o.sets) or "nothing", o.count] for o in found],
        ),
    )


def _overlap_message(found: Sequence[Overlap], sizes: Mapping[str, int], total: int) -> str:
    standing = next((o.count for o in found if not o.sets), 0)
    alone = {o.sets[0]: o.count for o in found if len(o.sets) == 1}
    words = f"{standing} of {total} images stand up to everything"
    if alone:
        attack = max(alone, key=lambda name: alone[name])
        return f"{words}; {alone[attack]} fall to {attack} alone"
    strongest = max(sizes, key=lambda name: sizes[name])
    return f"{words}; {strongest} breaks the most ({sizes[strongest]})"


def _hard_classes(material: Material, name: str) -> Figure | None:
    outcomes, labels = material.outcomes[name], np.array(material.labels)
    if not len(labels) or len(labels) < max(map(len, outcomes.right.values())):
        return None
    rows = outcomes.rows
    shares = {
        int(label): [_share(outcomes.right[row], labels, int(label)) for row in rows]
        for label in np.unique(labels)
    }
    whole = {label: line for label, line in shares.items() if None not in line}
    means = {
        label: float(np.mean([v for v in line if v is not None])) for label, line in whole.items()
    }
    if len(means) < 2:
        return None
    order = sorted(means, key=lambda label: means[label])
    shown = order if len(order) <= _CLASSES else [*order[: _CLASSES - 4], *order[-4:]]
    heat = Heat(
        rows=[material.class_name(label) for label in shown],
        columns=rows,
        values=[shares[label] for label in shown],
        write=lambda value: f"{100 * value:.0f}",
        tip=lambda label, row, value: f"class {label} under {row}: {percent(value)}",
        aside=[f"{100 * means[label]:.0f}%" for label in shown],
        aside_title="mean",
        cell=46,
        y_title="class",
    )
    hardest, easiest = order[0], order[-1]
    left_out = (
        f" Of {len(order)} classes the hardest and the easiest are shown."
        if len(shown) < len(order)
        else ""
    )
    return Figure(
        message=(
            f"{name}: {material.class_name(hardest)!r} is the hardest class "
            f"({percent(means[hardest])} in the mean of the rows), "
            f"{material.class_name(easiest)!r} the easiest ({percent(means[easiest])})"
        ),
        note=f"Accuracy in % by true class; the hardest class is on top.{left_out}",
        panels=[Panel(heat_chart(heat, f"Accuracy of {name} by class and attack"))],
        numbers=DataTable(
            ["class", *rows, "mean"],
            [
                [material.class_name(label), *map(_rounded, shares[label]), _rounded(means[label])]
                for label in order
            ],
        ),
    )


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def _share(right: NDArray[np.bool_], labels: NDArray[np.int_], label: int) -> float | None:
    own = right[labels[: len(right)] == label]
    return float(own.mean()) if len(own) else None


def _confusions(material: Material, name: str) -> Figure | None:
    illustration = material.illustrations.get(name)
    if illustration is None or not illustration.answers:
        return None
    labels, classes = (
        illustration.labels,
        max(len(material.classes), int(illustration.labels.max()) + 1),
    )
    counts = {row: _confusion(labels, said, classes) for row, said in illustration.answers.items()}
    panels = [
        Panel(
            heat_chart(_confusion_heat(material, matrix), f"{row}: class said by true class"), row
        )
        for row, matrix in counts.items()
        if classes <= _CLASSES
    ]
    wrong = sorted(
        (
            (int(matrix[true, said]), row, true, said)
            for row, matrix in counts.items()
            for true, said in zip(*np.nonzero(matrix), strict=True)
            if true != said
        ),
        key=lambda entry: (-entry[0], *entry[1:]),
    )
    if not wrong:
        return None
    rows = [
        [row, material.class_name(t), material.class_name(s), n] for n, row, t, s in wrong[:200]
    ]
    count, row, true, said = wrong[0]
    return Figure(
        message=(
            f"{name}: the most frequent confusion is {material.class_name(int(true))!r} taken for "
            f"{material.class_name(int(said))!r}, {count} of {int((labels == true).sum())} times "
            f"under {row}"
        ),
        note=(
            f"{len(labels)} test images, one quick run of each attack. Number of images by true class "
            "(down) and class said (across); what is off the diagonal is wrong."
            if panels
            else f"{len(labels)} test images; the most frequent confusions are in the table, which "
            f"{listed([*counts])} share."
        ),
        panels=panels,
        numbers=DataTable(["attack", "true class", "class said", "images"], rows),
    )


def _confusion(labels: NDArray[np.int_], said: NDArray[np.int_], classes: int) -> NDArray[np.int_]:
    matrix = np.zeros((classes, classes), dtype=np.int_)
    np.add.at(matrix, (labels, said), 1)
    return matrix


def _confusion_heat(material: Material, matrix: NDArray[np.int_]) -> Heat:
    names = [material.class_name(label) for label in range(len(matrix))]
    of_class = np.maximum(matrix.sum(1, keepdims=True), 1)
    shares = matrix / of_class
    counts = {share: n for share, n in zip(shares.flat, matrix.flat, strict=True)}
    return Heat(
        rows=names,
        columns=names,
        values=[[float(v) if v else None for v in line] for line in shares],
        write=lambda value: str(counts[value]),
        tip=lambda true, said, value: (
            f"{counts[value]} of class {true} called {said} ({percent(value)})"
        ),
        cell=28,
        y_title="true",
        x_title="class said",
    )
