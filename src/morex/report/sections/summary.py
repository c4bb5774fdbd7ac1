"""The top of the page: what was trained on what, and the result in one sentence."""

from collections.abc import Sequence

from markupsafe import Markup

from morex.artifacts.statistics import Comparison, Proportion
from morex.core.units import percent, plural, points
from morex.report.charts import PHONE, DataTable, Dot, DotRow, Figure, Key, Panel, dot_chart
from morex.report.material import Material
from morex.report.table import Table, description

_CHANCE = 0.05
"""A difference with a larger p-value may be chance."""

Known = list[tuple[str, float]]
"""Models with a figure, the best first."""


def headline(material: Material) -> str:
    """Return what was trained on what, in one line."""
    table, setting, missing = material.table, material.file.setting, material.file.missing
    models = plural(len(table.columns), "model")
    images = f", {setting.n_test:,} test images" if setting.n_test is not None else ""
    done = f"{len(table.columns) - len(missing)} of {models} evaluated on"
    return (
        f"{done if missing else f'{models} trained on'} {description(setting)}; "
        f"{plural(len(table.rows), 'attack')}{images}; seed {material.file.seed}"
    )


def result(material: Material) -> str:
    """Return the run's result as one sentence, with a test of the lead in the union."""
    table = material.table
    means = ranked(table, table.mean)
    unions = ranked(table, table.values["union"])
    if not means:
        return "No model is evaluated yet. This page shows what is known so far."
    best, mean = means[0]
    rows = plural(len(table.rows), "row")
    first = f"{best} has the best mean over the {rows}, {percent(mean)}{_ahead(means)}"
    name, union = unions[0]
    if not union:
        return f"{first}; no model gets a single image right under every attack at once."
    same = "it also gets" if name == best else f"{name} gets"
    second = f"{same} the most images right under every attack at once, {percent(union)}"
    return f"{first}; {second}{_against_lead(material, name, unions)}."


def ranked(table: Table, line: Sequence[float | None]) -> Known:
    """Return the models that have a figure, the best first."""
    known = zip(table.columns, line, strict=True)
    return sorted(((n, v) for n, v in known if v is not None), key=lambda pair: -pair[1])


def _ahead(ranking: Known) -> str:
    if len(ranking) < 2:
        return ""
    (_, best), (second, value) = ranking[:2]
    ahead = 100 * (best - value)
    return f", {ahead:.1f} points ahead of {second}" if ahead >= 0.05 else f", level with {second}"


def _against_lead(material: Material, best: str, unions: Known) -> str:
    """Compare the best union with that of the model that the page is about, or of the second."""
    others = [name for name, _ in unions if name != best]
    if not others:
        return ""
    other = material.lead if material.lead in others else others[0]
    assert other is not None
    rows = material.table.rows
    pair = (material.outcomes[name].union(rows) for name in (best, other))
    compared = Comparison.of(*pair)
    ahead = 100 * (compared.first - compared.second)
    verdict = ", which may be chance" if compared.p > _CHANCE else ""
    return (
        f", {ahead:.1f} points more than {other}{verdict} (McNemar's exact test: p = "
        f"{compared.p:.2g}, not corrected for choosing the best)"
    )


def standing(material: Material) -> Figure | None:
    """Return the chart of mean and union of every model."""
    table = material.table
    if not any(mean is not None for mean in table.mean):
        return None
    rows = [
        DotRow(name, _dots(name, mean, union), strong=name == material.lead)
        for name, mean, union in zip(table.columns, table.mean, table.union, strict=True)
        if mean is not None and union is not None
    ]
    return Figure(
        message=_message(table),
        note=(
            f"Mean: over the {len(table.rows)} rows, with equal weights. Union: the share of "
            "images that a model gets right under every row, with its 95% interval."
        ),
        panels=[Panel(_drawing(rows, 460), narrow=_drawing(rows, PHONE))],
        numbers=DataTable(
            ["model", "mean (%)", "union (%)", "low", "high", "n"],
            [
                [name, points(mean), *_counted(union)]
                for name, mean, union in zip(table.columns, table.mean, table.union, strict=True)
            ],
        ),
        keys=[Key("mean", 0), Key("union", 1)],
    )


def _drawing(rows: Sequence[DotRow], width: int) -> Markup:
    return dot_chart(rows, "Mean and union of every model", title="test accuracy", width=width)


def _dots(name: str, mean: float, union: Proportion) -> list[Dot]:
    low, high = union.interval
    said = f"{name}: union {percent(union.value)}, {percent(low)} to {percent(high)}, n {union.n}"
    return [
        Dot("union", 1, union.value, said, union.interval),
        Dot("mean", 0, mean, f"{name}: mean {percent(mean)}"),
    ]


def _message(table: Table) -> str:
    means = ranked(table, table.mean)
    unions = ranked(table, table.values["union"])
    (name, mean), (best, union) = means[0], unions[0]
    if name == best:
        return f"{name} leads in the mean ({percent(mean)}) and in the union ({percent(union)})"
    if not union:
        return f"{name} leads in the mean ({percent(mean)}); every union is empty"
    return f"{name} leads in the mean ({percent(mean)}), {best} in the union ({percent(union)})"


def _counted(cell: Proportion | None) -> list[float | int | None]:
    if cell is None:
        return [None] * 4
    return [points(cell.value), *map(points, cell.interval), cell.n]
