"""Accuracy against the cost of training."""

from collections.abc import Sequence

from markupsafe import Markup

from morex.core.units import percent, plural
from morex.report.charts import PHONE, DataTable, Figure, Key, Panel, Spot, scatter_chart
from morex.report.formats import cost_cell
from morex.report.known_rows import rows_both_know
from morex.report.material import Material
from morex.report.sections.summary import ranked

_LEVEL = 0.05
"""Closer figures, in points, are called level: they print as the same."""

_MORE = 1.05
"""From here on one model takes more passes than another; below, both take about the same."""

_SERIES = ("single expert", "one network, several perturbations", "mixture")


def cost_figure(material: Material) -> Figure | None:
    """Return mean accuracy against the passes of training, ancestors included."""
    table = material.table
    found = [
        (name, entry.training_with_parents, mean)
        for name, mean in zip(table.columns, table.mean, strict=True)
        if (entry := table.source.columns.get(name)) and mean is not None
    ]
    headings = dict(zip(table.columns, table.headings, strict=True))
    spots = [
        _spot(headings[name], _kind(material, name), cost.forward + cost.backward, mean)
        for name, cost, mean in found
        if cost and cost.forward + cost.backward > 0
    ]
    if len(spots) < 2:
        return None
    drawing, narrow = (_drawing(spots, width) for width in (480, PHONE))
    kinds = sorted({spot.slot for spot in spots})
    return Figure(
        message=_worth(material, spots),
        note="Forward and backward passes on a log scale. Higher and further left is better.",
        panels=[Panel(drawing, narrow=narrow)],
        numbers=DataTable(
            ["model", "kind", "passes in all", "mean (%)"],
            [[s.name, s.series, round(s.x), round(100 * s.y, 1)] for s in spots],
        ),
        keys=[Key(_SERIES[kind], kind) for kind in kinds],
    )


def _spot(name: str, kind: int, passes: int, mean: float) -> Spot:
    tip = f"{name}: {percent(mean)} for {cost_cell(passes)} passes"
    return Spot(name, _SERIES[kind], kind, x=passes, y=mean, tip=tip)


def _drawing(spots: Sequence[Spot], width: int) -> Markup:
    return scatter_chart(
        spots,
        "Mean accuracy against the cost of training",
        x_title="training passes, including those of ancestors",
        y_title="mean accuracy over the rows",
        width=width,
    )


def _kind(material: Material, name: str) -> int:
    entry = material.file.columns[name]
    if entry.gate or not entry.trained_on:
        return 2
    return 0 if entry.trained_on.startswith("single") else 1


def _worth(material: Material, spots: Sequence[Spot]) -> str:
    ranking = ranked(material.table, material.table.mean)
    by_name = {spot.name: spot for spot in spots}
    if not ranking or ranking[0][0] not in by_name:
        return "Mean accuracy against the cost of training"
    best = ranking[0][0]
    leader = by_name[best]
    cheaper = [n for n, _ in ranking if n in by_name and by_name[n].x < leader.x]
    if not cheaper:
        return f"{best} has the best mean and is the cheapest to train"
    rival = cheaper[0]
    share = leader.x / by_name[rival].x
    price = f"{share:.1f} times the" if share >= _MORE else "hardly more"
    return f"{best} is {_lead(material, best, rival)} for {price} passes"


def _lead(material: Material, best: str, rival: str) -> str:
    """Return for example ``2.1 points above M2``, on the rows that are new to neither."""
    rows = rows_both_know(material.file, best, rival) or tuple(material.file.rows)
    one, other = (material.outcomes[name].mean(rows) for name in (best, rival))
    ahead = 100 * (one - other)
    side = "above" if ahead > 0 else "below"
    words = (
        f"{abs(ahead):.1f} points {side} {rival}" if abs(ahead) >= _LEVEL else f"level with {rival}"
    )
    few = len(rows) < len(material.file.rows)
    return f"{words} on the {plural(len(rows), 'row')} that are new to neither" if few else words
