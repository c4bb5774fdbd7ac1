"""The gate: how it spreads its weight over the experts, under every perturbation."""

from collections.abc import Sequence

from morex.artifacts.gate_usage import GateUsage
from morex.core.units import listed
from morex.report.charts import DataTable, Figure, Heat, HeatCell, Panel, heat_chart
from morex.report.gate_words import SURE, gate_sentences
from morex.report.material import Material
from morex.report.sections.base import Section


def gate_section(material: Material) -> Section | None:
    """Return the heat maps of all mixtures, the last one first."""
    gates = reversed(material.gates.items())
    figures = [_figure(name, gate) for name, gate in gates]
    if not figures:
        return None
    intro = (
        "The gate of a mixture looks at the image and gives each expert a weight; the weights sum "
        "to 1. Their entropy is 0 bits if one expert has all the weight, and largest if all "
        "experts have the same."
    )
    return Section("gate", "Where the gate puts its weight", intro, figures)


def _figure(name: str, gate: GateUsage) -> Figure:
    leads = _heat(gate, gate.leads, "has the largest weight on a share of", ())
    rows = [*gate.weights]
    measured = f"{gate.n} test images, attacked as the row says (PGD against the whole mixture)."
    return Figure(
        message=f"{name} {_message(gate)}",
        note=" ".join([measured, *gate_sentences(gate)]),
        panels=[
            Panel(heat_chart(weights_chart(gate), f"{name}: mean weight"), "mean weight"),
            Panel(
                heat_chart(leads, f"{name}: share of images led"),
                "share of images on which the expert leads",
            ),
        ],
        numbers=DataTable(
            [
                "perturbation",
                *(f"{expert}: mean weight" for expert in gate.experts),
                *(f"{expert}: leads" for expert in gate.experts),
                "entropy (bits)",
            ],
            [[r, *gate.weights[r], *gate.leads[r], gate.entropy.get(r)] for r in rows],
        ),
    )


def weights_chart(gate: GateUsage) -> Heat:
    """Return the mean weights as a heat map, with their entropy if it was measured."""
    entropy = [f"{gate.entropy[row]:.2f} bits" for row in gate.weights if row in gate.entropy]
    complete = len(entropy) == len(gate.weights)
    return _heat(gate, gate.weights, "has a mean weight of", entropy if complete else ())


def _heat(
    gate: GateUsage, values: dict[str, tuple[float, ...]], said: str, entropy: Sequence[str]
) -> Heat:
    return Heat(
        rows=[*values],
        columns=gate.experts,
        cells=[
            [
                HeatCell(value, f"{value:.2f}", f"{row}: {expert} {said} {value:.3f}")
                for expert, value in zip(gate.experts, line, strict=True)
            ]
            for row, line in values.items()
        ],
        aside=entropy,
        aside_title="entropy" if entropy else "",
        cell=(56 if len(gate.experts) < 7 else 46, 28),
    )


def _message(gate: GateUsage) -> str:
    """Return whether the gate tells perturbations apart, and which of them go to one expert."""
    if len(gate.weights) < 2:
        ((row, (weight, expert)),) = _tops(gate).items()
        return f"gives {expert} the most weight under {row}, {weight:.2f}"
    if not gate.tells_apart:
        return f"does not tell perturbations apart: {_leaders(gate)}"
    sure: dict[str, list[str]] = {}
    for row, (weight, expert) in _tops(gate).items():
        if weight >= SURE:
            sure.setdefault(expert, []).append(row)
    goes = [f"{expert} gets {listed(rows)}" for expert, rows in sure.items()]
    spread = [row for row, (weight, _) in _tops(gate).items() if weight < SURE]
    rest = f"the weight of {listed(spread)} is spread" if spread else ""
    return f"tells perturbations apart: {'; '.join(filter(None, [', '.join(goes), rest]))}"


def _tops(gate: GateUsage) -> dict[str, tuple[float, str]]:
    """Return for every row the largest mean weight and its expert."""
    return {row: max(zip(w, gate.experts, strict=True)) for row, w in gate.weights.items()}


def _leaders(gate: GateUsage) -> str:
    """Return the experts with the largest mean weights under some row, and these weights."""
    tops = _tops(gate).values()
    least, most = min(tops)[0], max(tops)[0]
    leaders = [expert for expert in gate.experts if expert in {e for _, e in tops}]
    verb = "has" if len(leaders) == 1 else "have"
    return f"{listed(leaders)} {verb} the most weight, {least:.2f} to {most:.2f}"
