"""What models were not tested against, as far as the rows of their tables tell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from morex.report.table import Table

_BALLS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
_GATE_ATTACKS = ("steering", "transfer")
_KINDS = {
    "common corruptions such as noise, blur and compression (`--corrupted` evaluates them)": (
        *("gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise", "defocus-blur"),
        *("motion-blur", "gaussian-blur", "glass-blur", "zoom-blur", "pixelate", "jpeg"),
    ),
    "rotations, shifts, changes of scale, and occlusion": (
        *("rotate-translate", "scale", "shear", "occlusion"),
    ),
    "weather, warps, colours and patches that an attacker chooses (suite `unforeseen`)": (
        *("adversarial-fog", "adversarial-snow", "adversarial-elastic", "adversarial-jpeg"),
        *("flow", "recolor", "patch"),
    ),
}
"""Perturbations that belong together, by words for them."""


def gaps(tables: Sequence[Table], data: str, *, gated: bool) -> list[str]:
    """Return what no row of the tables tests, each as a phrase.

    Args:
        tables: all tables of the models.
        data: the name of the test data.
        gated: whether one of the models is a mixture, whose gate can be attacked.
    """
    rows = [row for table in tables for row in table.source.rows.values()]
    kinds = {kind for row in rows for kind in _kinds(row.perturbation)}
    attacks = {row.attack.partition(" ")[0] for row in rows}
    return [
        *_about_balls(kinds, attacks),
        *_about_gates(attacks if gated else {*_GATE_ATTACKS}),
        *(words for words, group in _KINDS.items() if kinds.isdisjoint(group)),
        *([] if "compose" in kinds else ["several perturbations of one image at the same time"]),
        f"images from another source than the test set of {data}, and images of no class",
        "other seeds: every model was trained once",
    ]


def _kinds(perturbation: Mapping[str, Any]) -> Iterable[str]:
    """Yield the kind of a perturbation, or ``compose`` and the kinds of its parts."""
    yield perturbation["kind"]
    for part in perturbation.get("parts", ()):
        yield from _kinds(part)


def _about_balls(kinds: Iterable[str], attacks: Iterable[str]) -> Iterator[str]:
    missing = [name for kind, name in _BALLS.items() if kind not in kinds]
    if missing:
        yield f"perturbations in the {' and '.join(missing)} {'balls' if missing[1:] else 'ball'}"
    if len(missing) < len(_BALLS):
        yield "balls with larger radii than those in the tables"
        if "autoattack" not in attacks:
            yield "AutoAttack (suite `autoattack`)"


def _about_gates(attacks: Iterable[str]) -> Iterator[str]:
    if not {*_GATE_ATTACKS} & {*attacks}:
        yield "attacks that know the gate and steer it (suite `adaptive`)"
