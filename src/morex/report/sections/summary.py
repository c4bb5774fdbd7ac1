"""The top of the page: what was trained on what, and the result in one sentence."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from morex.artifacts.statistics import Comparison, Proportion
from morex.core.units import listed, percent, plural, points
from morex.report.charts import PHONE, DataTable, Dot, DotRow, Figure, Key, Panel, dot_chart
from morex.report.known_rows import rows_both_know, what_is_new
from morex.report.material import Material
from morex.report.table import Table, description

_CHANCE = 0.05
"""A difference with a larger p-value may be chance."""

_SMALLEST = 0.0001
"""Smaller p-values are not written out."""

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
    if not means and table.collapsed:
        return f"No model does better than guessing: {_collapsed_ones(table)}."
    if not means:
        return "No model is evaluated yet. This page shows what is known so far."
    best, mean = means[0]
    rows = plural(len(table.rows), "row")
    ahead, second = _ahead(material, means)
    first = f"{best} has the best mean over the {rows}, {percent(mean)}{ahead}"
    name, union = unions[0]
    if not union:
        none = "no model but collapsed ones" if table.collapsed else "no model"
        words = f"{first}; {none} gets a single image right under every attack at once."
        return _with_news(material, words, {best: second})
    same = "it also gets" if name == best else f"{name} gets"
    most = f"{same} the most images right under every attack at once, {percent(union)}"
    against, rival = _against_lead(material, name, unions)
    return _with_news(material, f"{first}; {most}{against}.", {best: second}, {name: rival})


def _with_news(material: Material, words: str, *pairs: Mapping[str, str]) -> str:
    """Add which rows are new to models that are compared, and which models are collapsed."""
    found = [(one, other) for pair in pairs for one, other in pair.items() if other]
    return " ".join(filter(None, [words, what_is_new(material.file, found), _collapsed(material)]))


def _collapsed(material: Material) -> str:
    if not material.table.collapsed:
        return ""
    return f"{_collapsed_ones(material.table)} and left out; the notes under the table say why."


def _collapsed_ones(table: Table) -> str:
    verb = "is" if len(table.collapsed) == 1 else "are"
    return f"{listed([*table.collapsed])} {verb} collapsed"


def ranked(table: Table, line: Sequence[float | None]) -> Known:
    """Return the models that have a figure, the best first; collapsed ones are left out."""
    known = zip(table.columns, line, strict=True)
    judged = ((n, v) for n, v in known if v is not None and n not in table.collapsed)
    return sorted(judged, key=lambda pair: -pair[1])


def _ahead(material: Material, ranking: Known) -> tuple[str, str]:
    """Return how far the first model is ahead of the second, and the name of that."""
    if len(ranking) < 2:
        return "", ""
    best, second = ranking[0][0], ranking[1][0]
    shared = rows_both_know(material.file, best, second)
    if not shared:
        return "", second
    one, other = (material.outcomes[name].mean(shared) for name in (best, second))
    ahead = 100 * (one - other)
    words = f"level with {second}"
    if abs(ahead) >= 0.05:
        side = f"points ahead of {second}" if ahead > 0 else f"points behind {second}"
        words = f"{'' if ahead > 0 else 'but '}{abs(ahead):.1f} {side}"
    return f", {words}{_where(material, shared)}", second


def _where(material: Material, shared: Sequence[str]) -> str:
    if len(shared) == len(material.file.rows):
        return ""
    return f" on the {plural(len(shared), 'row')} that are new to neither"


def _against_lead(material: Material, best: str, unions: Known) -> tuple[str, str]:
    """Compare the best union with that of the model that the page is about, or of the second."""
    others = [name for name, _ in unions if name != best]
    if not others:
        return "", ""
    other = material.lead if material.lead in others else others[0]
    assert other is not None
    rows = rows_both_know(material.file, best, other)
    if not rows:
        return "", other
    compared = Comparison.of(*(material.outcomes[name].union(rows) for name in (best, other)))
    ahead = 100 * (compared.first - compared.second)
    verdict = ", which may be chance" if compared.p > _CHANCE else ""
    return (
        f", {abs(ahead):.1f} points {'more' if ahead >= 0 else 'fewer'} than {other}"
        f"{_where(material, rows)}{verdict} (McNemar's exact test: {_p(compared.p)}, not "
        "corrected for choosing the best)"
    ), other


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= _SMALLEST else f"p < {_SMALLEST:f}".rstrip("0")


def standing(material: Material) -> Figure | None:
    """Return the chart of mean and union of every model."""
    table = material.table
    if not any(mean is not None for mean in table.mean):
        return None
    rows = [
        DotRow(heading, _dots(name, mean, union), strong=name == material.lead)
        for name, heading, mean, union in zip(
            table.columns, table.headings, table.mean, table.union, strict=True
        )
        if mean is not None and union is not None
    ]
    return Figure(
        message=_message(table),
        note=(
            f"Mean: over the {len(table.rows)} rows, with equal weights. Union: the share of "
            "images that a model gets right under every row, with its 95% interval."
            f"{_news(material)}"
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


def _news(material: Material) -> str:
    """Return which rows are new to the model that is second in the mean, or to the first."""
    names = [name for name, _ in ranked(material.table, material.table.mean)[:2]]
    pairs = [(names[0], names[1])] if len(names) == 2 else []
    news = what_is_new(material.file, pairs)
    return f" {news}" if news else ""


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
    if not means:
        return "No model does better than guessing"
    (name, mean), (best, union) = means[0], unions[0]
    if not union:
        unions_of = (
            "every union but those of collapsed models" if table.collapsed else "every union"
        )
        return f"{name} leads in the mean ({percent(mean)}); {unions_of} is empty"
    if name == best:
        return f"{name} leads in the mean ({percent(mean)}) and in the union ({percent(union)})"
    return f"{name} leads in the mean ({percent(mean)}), {best} in the union ({percent(union)})"


def _counted(cell: Proportion | None) -> list[float | int | None]:
    if cell is None:
        return [None] * 4
    return [points(cell.value), *map(points, cell.interval), cell.n]
