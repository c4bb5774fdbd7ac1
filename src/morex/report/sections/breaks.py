"""Which attack broke which example: overlaps of attacks, hard classes, confusions."""

from collections.abc import Mapping, Sequence

import numpy as np

from morex.artifacts.outcomes import Outcomes
from morex.report.charts import DataTable, Figure, Overlap, Panel, upset_chart
from morex.report.material import Material
from morex.report.sections.base import Section
from morex.report.sections.classes import confusions, hard_classes
from morex.report.sections.summary import ranked

_OVERLAPS = 12


def breaks_section(material: Material) -> Section | None:
    """Return overlaps, hard classes and confusions of the model that the page is about."""
    lead = material.lead
    if lead is None:
        return None
    models = dict.fromkeys([lead, *(name for name, _ in _unions(material)[:1])])
    figures = [_overlaps(name, material.outcomes[name]) for name in models]
    figures += [hard_classes(material, name) for name in models]
    found = [figure for figure in (*figures, confusions(material, lead)) if figure]
    words = "An attack breaks an image if the model gets the attacked image wrong."
    return Section("breaks", "Which attack broke which image", words, found) if found else None


def _unions(material: Material) -> list[tuple[str, float]]:
    return ranked(material.table, [c.value if c else None for c in material.table.union])


def overlaps(outcomes: Outcomes) -> tuple[list[Overlap], dict[str, int], int]:
    """Return the exclusive overlaps, the number of images that each row breaks, and the total.

    The largest overlap comes first. Only the images that every row covers are counted. The overlap
    of no attack counts the images that survive.
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
    more = f" Rarer combinations ({hidden}) are listed only in the numbers." if hidden else ""
    drawing = upset_chart(sizes, shown, total, f"Which attacks break the same images of {name}")
    return Figure(
        message=f"{name}: {_overlap_message(found, sizes, total)}",
        note=(
            f"{total} test images, which every row covers. Each column is a set of attacks (filled "
            "dots); its bar counts the images broken by exactly these attacks. The column without "
            f"a filled dot counts the images that nothing breaks.{more}"
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
    words = f"{standing} of {total} images survive every attack"
    if alone:
        attack = max(alone, key=lambda name: alone[name])
        return f"{words}; {alone[attack]} fall to {attack} alone"
    strongest = max(sizes, key=lambda name: sizes[name])
    return f"{words}; {strongest} breaks the most ({sizes[strongest]})"
