"""The gate: how it spreads its weight over the experts, under every perturbation."""

from collections.abc import Sequence
from math import log2

from morex.report.charts import DataTable, Figure, Heat, Panel, heat_chart
from morex.report.material import Material
from morex.report.results import Gate
from morex.report.sections.base import Section, listed

_SURE = 0.8
"""From this mean weight on a perturbation is said to go to an expert."""


def gate_section(material: Material) -> Section | None:
    """Return the heat maps of all mixtures, the last one first."""
    gates = reversed(material.gates.items())
    figures = [_figure(name, gate) for name, gate in gates]
    if not figures:
        return None
    lead = (
        "A mixture's gate looks at the image and gives every expert a weight; the weights sum to 1. "
        "Entropy is 0 bits where one expert has all the weight, and log2 of the number of experts "
        "where all have the same."
    )
    return Section("gate", "Where the gate puts its weight", lead, figures)


def _figure(name: str, gate: Gate) -> Figure:
    entropy = [f"{gate.entropy[row]:.2f} bits" for row in gate.weights if row in gate.entropy]
    complete = len(entropy) == len(gate.weights)
    weights = _heat(gate, gate.weights, "has a mean weight of", entropy if complete else ())
    leads = _heat(gate, gate.leads, "has the largest weight on a share of", ())
    rows = [*gate.weights]
    return Figure(
        message=f"{name}: {_message(gate)}",
        note=(
            f"{gate.n} test images, attacked as the row says (PGD against the whole mixture). "
            f"Entropy of all weights equal: {log2(len(gate.experts)):.2f} bits."
        ),
        panels=[
            Panel(heat_chart(weights, f"{name}: mean weight"), "mean weight"),
            Panel(
                heat_chart(leads, f"{name}: share of images led"),
                "share of images on which the expert dominates",
            ),
        ],
        numbers=DataTable(
            [
                "perturbation",
                *(f"{expert}: mean weight" for expert in gate.experts),
                *(f"{expert}: dominates" for expert in gate.experts),
                "entropy (bits)",
            ],
            [[r, *gate.weights[r], *gate.leads[r], gate.entropy.get(r)] for r in rows],
        ),
    )


def _heat(
    gate: Gate, values: dict[str, tuple[float, ...]], said: str, entropy: Sequence[str]
) -> Heat:
    return Heat(
        rows=[*values],
        columns=gate.experts,
        values=[*values.values()],
        write=lambda value: f"{value:.2f}",
        tip=lambda row, expert, value: f"{row}: {expert} {said} {value:.3f}",
        aside=entropy,
        aside_title="entropy" if entropy else "",
        cell=56 if len(gate.experts) < 7 else 46,
    )


def _message(gate: Gate) -> str:
    """Say where the weight goes, or that it always goes to one expert."""
    tops = {row: max(zip(w, gate.experts, strict=True)) for row, w in gate.weights.items()}
    leaders = {expert for _, expert in tops.values()}
    sure = {row: expert for row, (weight, expert) in tops.items() if weight >= _SURE}
    if len(leaders) == 1 and len(sure) == len(tops) > 1:
        return f"the gate has collapsed onto {leaders.pop()}, whatever the perturbation"
    if not sure:
        return "no perturbation goes to one expert alone"
    by_expert: dict[str, list[str]] = {}
    for row, expert in sure.items():
        by_expert.setdefault(expert, []).append(row)
    goes = [f"{listed(rows)} to {expert}" for expert, rows in by_expert.items()]
    verb = "goes" if len(sure) == 1 else "go"
    rest = [row for row in tops if row not in sure]
    spread = f"; the weight of {listed(rest)} is spread" if rest else ""
    return (
        f"{', '.join(goes[:-1]) + ', ' if len(goes) > 1 else ''}{goes[-1]}".replace(
            " to ", f" {verb} to ", 1
        )
        + spread
    )
