"""Pictures: test images under every attack, with the predictions of mixture and experts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from morex.artifacts.illustration import Pictures
from morex.core.units import listed
from morex.report.images import data_address, magnification, magnified
from morex.report.material import Material
from morex.report.sections.base import Section


@dataclass(frozen=True)
class ExpertCell:
    """An expert's prediction: the class, whether it is right, and its weight in percent."""

    said: str
    right: bool
    weight: int | None


@dataclass(frozen=True)
class Attacked:
    """One image under one attack: addresses of two pictures, the prediction, and the experts'.

    The confidence is in percent.
    """

    row: str
    image: str
    difference: str
    said: str
    right: bool
    confidence: int
    experts: tuple[ExpertCell, ...]


@dataclass(frozen=True)
class Exhibit:
    """A test image, its index in the data set, and the same image under every attack."""

    index: int
    label: str
    broken_by: str
    cells: tuple[Attacked, ...]


def gallery_section(material: Material) -> Section | None:
    """Return the gallery of the one model that has pictures."""
    galleries = ((n, i.pictures) for n, i in material.illustrations.items() if i.pictures)
    name, pictures = next(galleries, ("", None))
    if pictures is None:
        return None
    factors = _factors(pictures)
    exhibits = list(_exhibits(material, pictures, factors))
    standing = sum(not exhibit.broken_by for exhibit in exhibits)
    gate = " The bars show the gate's weights." if pictures.weights.shape[2] else ""
    intro = (
        f"{len(exhibits)} test images and the predictions of {name}, which gets {standing} of them "
        f"right under every attack. The images were drawn with seed {material.file.seed}, not by "
        f"hand; half come from those that a quick attack breaks.{gate} Each attack is a single run "
        "on the whole model. Differences are magnified around grey."
    )
    content = {
        "model": name,
        "rows": pictures.rows.tolist(),
        "factors": factors,
        "experts": pictures.experts.tolist(),
        "exhibits": exhibits,
    }
    return Section("pictures", "Pictures", intro, part="gallery.html", content=content)


def _factors(pictures: Pictures) -> list[int]:
    """Return for each attack the factor by which its differences are magnified."""
    moved = pictures.moved.astype(np.float32)
    return [magnification(images - moved[0]) for images in moved]


def _exhibits(material: Material, pictures: Pictures, factors: Sequence[int]) -> Iterator[Exhibit]:
    right = pictures.said == pictures.labels
    rows = pictures.rows
    for p, place in enumerate(pictures.index.tolist()):
        yield Exhibit(
            index=material.index[place] if material.index else place,
            label=material.class_name(int(pictures.labels[p])),
            broken_by=listed(rows[~right[:, p]].tolist()),
            cells=tuple(_attacked(material, pictures, r, p, f) for r, f in enumerate(factors)),
        )


def _attacked(material: Material, pictures: Pictures, row: int, p: int, factor: int) -> Attacked:
    image = pictures.moved[row, p].astype(np.float32)
    change = image - pictures.moved[0, p].astype(np.float32)
    label, said = int(pictures.labels[p]), int(pictures.said[row, p])
    return Attacked(
        row=str(pictures.rows[row]),
        image=data_address(image),
        difference=data_address(magnified(change, factor)) if row else "",
        said=material.class_name(said),
        right=said == label,
        confidence=_percent(pictures.confidence[row, p]) or 0,
        experts=tuple(_experts(material, pictures, row, p, label)),
    )


def _percent(share: float) -> int | None:
    """Return a share in percent; None if it is not finite."""
    return round(100 * float(share)) if isfinite(share) else None


def _experts(
    material: Material, pictures: Pictures, row: int, p: int, label: int
) -> Iterator[ExpertCell]:
    weights = pictures.weights[row, p]
    for m, said in enumerate(pictures.experts_say[row, p].astype(int).tolist()):
        weight = _percent(weights[m]) if len(weights) else None
        yield ExpertCell(material.class_name(said), said == label, weight)
