"""Figures of the paper's Table 1, for runs whose figures can be compared with them."""

import json
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from importlib.resources import files
from math import isclose
from typing import Any

_SETTING = {"data": "cifar10", "network": "resnet18", "width": 64}
_TOLERANCE = 1e-6  # 8/255 survives being written with seven digits, 0.0314 is another ball


def paper_columns() -> tuple[str, ...]:
    """Return the twelve models of Table 1, in the paper's order."""
    return tuple(_table1()["columns"])


def paper_figure(
    setting: Mapping[str, Any], row: str, perturbation: Mapping[str, Any], column: str
) -> float | None:
    """Return the accuracy (percent) that Table 1 gives for a model under an attack, if comparable.

    Figures are comparable for CIFAR-10, ResNet-18 at width 64, a row and a model of Table 1, and
    the perturbation that the paper evaluates in that row. For everything else, and for the cells
    that the paper leaves empty, the result is None.

    Args:
        setting: with the keys ``data``, ``network`` and ``width``.
        row: name of the row, such as ``pgd-linf``.
        perturbation: ``kind`` and strengths, such as ``{"kind": "linf", "eps": 8 / 255}``.
        column: name of the model, such as ``MoRE (all)``.
    """
    table = _table1()
    if any(setting.get(key) != value for key, value in _SETTING.items()):
        return None
    if row not in table["rows"] or column not in table["columns"]:
        return None
    if not _same(perturbation, _paper_perturbation(row)):
        return None
    figure: float | None = table["rows"][row][table["columns"].index(column)]
    return figure


@cache
def _table1() -> dict[str, Any]:
    text = files("morex.report").joinpath("table1.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _paper_perturbation(row: str) -> dict[str, Any]:
    settings = _table1()["settings"]
    kind = row.rsplit("-", maxsplit=1)[-1]
    strengths: dict[str, dict[str, Any]] = {
        "clean": {},
        "l2": {"eps": settings["l2_eps"]},
        "linf": {"eps": float(Fraction(settings["linf_eps"]))},
        "fog": settings["fog"],
        "snow": settings["snow"],
    }
    return {"kind": kind, **strengths[kind]}


def _same(perturbation: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return perturbation.keys() == expected.keys() and all(
        _close(perturbation[key], value) for key, value in expected.items()
    )


def _close(value: Any, expected: Any) -> bool:
    if isinstance(value, int | float) and isinstance(expected, int | float):
        return isclose(value, expected, rel_tol=0, abs_tol=_TOLERANCE)
    return bool(value == expected)
