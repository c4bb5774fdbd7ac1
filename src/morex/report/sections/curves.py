"""Accuracy against strength: how the accuracy of models falls as a perturbation grows."""

from collections.abc import Mapping

from markupsafe import Markup

from morex.artifacts.illustration import Curve
from morex.artifacts.statistics import Proportion
from morex.core.units import listed, percent
from morex.report.caption import in_words
from morex.report.charts import DataTable, Figure, Key, Line, LineAxes, Panel, line_chart
from morex.report.material import Material
from morex.report.sections.base import Section

Curves = Mapping[str, Curve]
"""The curves of one perturbation, by model."""


def curves_section(material: Material) -> Section | None:
    """Return a panel per perturbation with a line per model."""
    by_perturbation: dict[str, dict[str, Curve]] = {}
    for model, illustration in material.illustrations.items():
        for name, curve in illustration.curves.items():
            by_perturbation.setdefault(name, {})[model] = curve
    if not by_perturbation:
        return None
    shown = [*material.illustrations]
    lead = material.lead if material.lead in shown else shown[-1]
    order = sorted(shown, key=lambda model: model != lead)  # stable: the lead gets the first slot
    slots = {model: slot for slot, model in enumerate(order)}
    lines = (_row(p, m, curve) for p, c in by_perturbation.items() for m, curve in c.items())
    figure = Figure(
        message=_message(by_perturbation, lead),
        note=_note(by_perturbation),
        panels=[
            Panel(_chart(material, name, curves, slots), name)
            for name, curves in by_perturbation.items()
        ],
        numbers=DataTable(
            ["perturbation", "model", "strength", "accuracy (%)", "low", "high", "n"],
            [row for rows in lines for row in rows],
        ),
        keys=[Key(model, slot, line=True) for model, slot in slots.items()],
    )
    words = "The accuracy of a robust model falls slowly. Every model must fail in the end."
    return Section("curves", "Accuracy against strength", words, [figure])


def _chart(material: Material, name: str, curves: Curves, slots: Mapping[str, int]) -> Markup:
    shares = {
        model: [(f, Proportion.of(r)) for f, r in zip(c.factors, c.right, strict=True)]
        for model, c in curves.items()
    }
    lines = [
        Line(model, slots[model], [(f, 100 * p.value, _tip(model, f, p)) for f, p in points])
        for model, points in shares.items()
    ]
    ticks = next(iter(curves.values())).factors.tolist()
    axes = LineAxes(
        x_title=f"multiple of {_strength(material, name)}",
        y_title="accuracy",
        y=(0, 100),
        x_ticks=ticks,
        rule=(1.0, "table") if 1.0 in ticks else None,
        unit="%",
        width=262,
    )
    return line_chart(lines, axes, f"Accuracy against the strength of {name}")


def _strength(material: Material, name: str) -> str:
    """Return the strength of a perturbation of the recipe, such as ``linf eps 0.11``."""
    known = material.file.perturbations.get(name)
    return in_words(known) if known else "its strength in the recipe"


def _tip(model: str, factor: float, share: Proportion) -> str:
    low, high = share.interval
    return (
        f"{model} at {factor:g}: {percent(share.value)} ({percent(low)} to {percent(high)}, "
        f"n {share.n})"
    )


def _row(name: str, model: str, curve: Curve) -> list[list[str | float | int]]:
    shares = [(f, Proportion.of(r)) for f, r in zip(curve.factors, curve.right, strict=True)]
    points = [(f, p.value, *p.interval, p.n) for f, p in shares]
    return [
        [name, model, float(f), *(round(100 * v, 1) for v in (value, low, high)), n]
        for f, value, low, high, n in points
    ]


def _message(by_perturbation: Mapping[str, Curves], model: str) -> str:
    """Return the accuracy of a model at the largest strength of each perturbation."""
    ends = [
        f"{percent(float(curves[model].right[-1].mean()))} at "
        f"{float(curves[model].factors[-1]):g} times {name}"
        for name, curves in by_perturbation.items()
        if model in curves
    ]
    return f"{model} falls to {listed(ends)}"


def _note(by_perturbation: Mapping[str, Curves]) -> str:
    curve = next(iter(next(iter(by_perturbation.values())).values()))
    n = curve.right.shape[1]
    widest = max(
        (high - low) / 2
        for curves in by_perturbation.values()
        for c in curves.values()
        for low, high in (Proportion.of(r).interval for r in c.right)
    )
    return (
        f"{n} test images; 95% intervals up to ±{100 * widest:.0f} points. Balls are searched by "
        "one quick run of PGD, which overestimates accuracy; weather and other transforms are "
        "drawn once."
    )
