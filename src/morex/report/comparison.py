"""The page that compares runs: which model is best, in how many of them, and by how much."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from morex.artifacts.origins import differences
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import Comparison
from morex.core.files import write_atomically
from morex.core.units import listed, p_value, percent, plural
from morex.report.charts import PHONE, Cell, DataTable, Dot, DotRow, Figure, Key, Panel, dot_chart
from morex.report.material import Material, read_material
from morex.report.page import render
from morex.report.sections.base import Section
from morex.report.sections.table1 import table_section
from morex.report.sections.trust import provenance_section

Figures = dict[str, dict[str, float]]
"""By model and run, accuracies in [0, 1]."""


def write_comparison(runs: Sequence[Path], target: Path) -> None:
    """Write a page that compares runs.

    Raises:
        FileNotFoundError: if a run is missing or has no results file yet.
        ValueError: if the results or outcomes of a run are damaged.
    """
    write_atomically(target, to_comparison([read_material(run) for run in runs]).encode())


def to_comparison(materials: Sequence[Material]) -> str:
    """Return a page that compares runs."""
    runs = dict(zip(names(materials), materials, strict=True))
    means, unions = (_figures(runs, line) for line in ("mean", "union"))
    alike = all(_measured(material) == _measured(materials[0]) for material in materials)
    found = {"mean": means, "union": unions} if alike else {}
    figures = [_figure(kind, values, runs) for kind, values in found.items()]
    compared = Section("models", "The models", figures=[f for f in figures if f])
    return render(
        title=f"{plural(len(runs), 'run')}: morex report",
        heading=f"{plural(len(runs), 'run')} compared",
        subject=listed([*runs]),
        result=_result(means, unions, runs) if alike else _UNLIKE,
        missing=(),
        sections=[compared, *_pairs(runs), *_each(runs)],
    )


def names(materials: Sequence[Material]) -> list[str]:
    """Return a name for each run: recipe and seed, with the folder if two would be equal."""
    plain = [f"{m.file.name}, seed {m.file.seed}" for m in materials]
    count = Counter(plain)
    return [
        name if count[name] == 1 else f"{name} ({material.run})"
        for name, material in zip(plain, materials, strict=True)
    ]


_UNLIKE = (
    "These runs differ in their test images or attacks, so their figures cannot be compared. Each "
    "run has its own table below."
)


def _measured(material: Material) -> tuple[object, ...]:
    """Return what must be equal for figures to be comparable: the images and the attacks."""
    setting = material.file.setting
    return setting.data, setting.data_note, setting.n_test, material.file.rows


def _figures(runs: Mapping[str, Material], line: str) -> Figures:
    """Return the models' figures in a line of the table."""
    found: Figures = {}
    for run, material in runs.items():
        table = material.table
        for model, value in zip(table.columns, table.values[line], strict=True):
            if value is not None:
                found.setdefault(model, {})[run] = value
    return found


def _average(by_run: Mapping[str, float]) -> float:
    return sum(by_run.values()) / len(by_run)


def _sound(figures: Figures, runs: Mapping[str, Material]) -> Figures:
    """Return the figures without models that are collapsed in one of the runs."""
    collapsed = {name for material in runs.values() for name in material.table.collapsed}
    return {model: by_run for model, by_run in figures.items() if model not in collapsed}


def _best(figures: Figures, runs: int) -> tuple[str, str] | None:
    """Return the model with the best average over all runs, and its figures in words."""
    complete = {model: by_run for model, by_run in figures.items() if len(by_run) == runs}
    if not complete:
        return None
    best = max(complete, key=lambda model: _average(complete[model]))
    low, high = min(complete[best].values()), max(complete[best].values())
    return best, f"{percent(_average(complete[best]))} ({percent(low)} to {percent(high)})"


def _result(means: Figures, unions: Figures, runs: Mapping[str, Material]) -> str:
    count = len(runs)
    mean, union = (_best(_sound(figures, runs), count) for figures in (means, unions))
    if not mean or not union:
        return "No model is evaluated in all of these runs and better than guessing."
    return (
        f"Averaged over {plural(count, 'run')}, {mean[0]} has the best mean over the rows, "
        f"{mean[1]}, and {union[0]} the best union, {union[1]}."
    )


def _figure(kind: str, figures: Figures, runs: Mapping[str, Material]) -> Figure | None:
    if not figures:
        return None
    rows = [DotRow(model, [*_dots(model, by_run, [*runs])]) for model, by_run in figures.items()]
    words, title = f"{kind} of every model in every run", f"{kind} accuracy"
    drawing, narrow = (dot_chart(rows, words, title=title, width=w) for w in (460, PHONE))
    table: list[list[Cell]] = [
        [model, *(round(100 * by_run[r], 1) if r in by_run else None for r in runs)]
        for model, by_run in figures.items()
    ]
    return Figure(
        message=_wins(kind, _sound(figures, runs), [*runs]),
        note=_SAID[kind],
        panels=[Panel(drawing, narrow=narrow)],
        numbers=DataTable(["model", *(f"{run} (%)" for run in runs)], table),
        keys=[Key(run, slot) for slot, run in enumerate(runs)],
    )


_SAID = {
    "mean": "The plain mean over the rows, for each run.",
    "union": "The share of images that a model gets right under every row, for each run.",
}


def _dots(model: str, by_run: Mapping[str, float], runs: Sequence[str]) -> Iterator[Dot]:
    for slot, run in enumerate(runs):
        if run in by_run:
            yield Dot(run, slot, by_run[run], f"{model} in {run}: {percent(by_run[run])}")


def _wins(kind: str, figures: Figures, runs: Sequence[str]) -> str:
    """Return which model is best in how many runs, as a sentence."""
    wins: Counter[str] = Counter()
    for run in runs:
        there = {model: by_run[run] for model, by_run in figures.items() if run in by_run}
        if there:
            wins[max(there, key=lambda model: there[model])] += 1
    if not wins:
        return f"No model has a {kind} that is better than guessing"
    words = [
        f"{model} in {count} of {plural(len(runs), 'run')}" for model, count in wins.most_common()
    ]
    return f"Best {kind}: {listed(words)}"


def _pairs(runs: Mapping[str, Material]) -> Iterator[Section]:
    """Yield the paired comparison of the first run with each other one on the same test images."""
    (first, one), *others = runs.items()
    rows = [
        [other, model, *_paired(one, two, model)]
        for other, two in others
        if one.labels and one.labels == two.labels and _measured(one) == _measured(two)
        for model in one.outcomes
        if model in two.outcomes and _alike(one.outcomes[model], two.outcomes[model])
    ]
    if rows:
        header = [
            "run",
            "model",
            f"union in {first} (%)",
            "union in this run (%)",
            "difference",
            "n",
            "p",
        ]
        intro = (
            f"Models with the same name in {first} and in another run, compared on the same test "
            "images: the union of all rows, and McNemar's exact test on the images where they "
            "differ."
        )
        content = {"header": header, "rows": rows}
        yield Section("pairs", "Paired", intro, part="plain_table.html", content=content)


def _alike(first: Outcomes, second: Outcomes) -> bool:
    """Return whether the rows of two outcomes differ in nothing but the model and the seed."""
    shared = [row for row in first.origins if row in second.origins]
    found = (differences(first.origins[row], second.origins[row]) for row in shared)
    return not any(part.what in ("images", "attack") for parts in found for part in parts)


def _paired(one: Material, two: Material, model: str) -> list[str]:
    rows = one.file.rows
    c = Comparison.of(one.outcomes[model].union(rows), two.outcomes[model].union(rows))
    figures = [f"{100 * value:.1f}" for value in (c.first, c.second)]
    return [*figures, f"{100 * (c.second - c.first):+.1f}", str(c.n), p_value(c.p)]


def _each(runs: Mapping[str, Material]) -> Iterator[Section]:
    """Yield the table and the provenance of every run."""
    for n, (name, material) in enumerate(runs.items(), 1):
        for section in (table_section(material), provenance_section(material)):
            yield Section(
                f"{section.id}-{n}",
                f"{section.title}: {name}",
                section.intro,
                part=section.part,
                content=section.content,
            )
