"""The tables of a card: one model in detail, all models side by side, and what they cost."""

from collections.abc import Iterator, Sequence

from morex.artifacts.statistics import Proportion
from morex.core.units import duration
from morex.report.caption import in_words
from morex.report.card.subject import Subject
from morex.report.formats import cost_cell, escaped
from morex.report.table import Table

Rows = Sequence[Sequence[str]]


def pipe_table(head: Sequence[str], rows: Rows, *, words: int = 1) -> str:
    """Return a table in Markdown.

    Args:
        head: the names of the columns.
        rows: the cells.
        words: how many of the first columns hold words; the others hold numbers.
    """
    rule = ["---" if i < words else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])


def table_of_one(table: Table, model: str) -> str:
    """Return the table of one model: each row with its interval, n and attack."""
    place = table.columns.index(model)
    lines = [*_measured(table, place)]
    mean = table.mean[place]
    if mean is not None:
        lines.append(["mean", "of the rows", f"{100 * mean:.1f}", "", "", ""])
    head = ["row", "perturbation", "accuracy (%)", "95% interval", "n", "attack"]
    text = pipe_table(head, lines, words=2)
    return text.replace("---: | ---: | ---: | ---: |", "---: | ---: | ---: | --- |", 1)


def _measured(table: Table, place: int) -> Iterator[list[str]]:
    for name, cells in table.measured.items():
        cell, row = cells[place], table.source.rows.get(name)
        if cell is None:
            continue
        said = in_words(row.perturbation) if row else "each of the above"
        attack = escaped(_without_place(row.attack)) if row else "right under every attack"
        figure = f"{100 * cell.value:.1f}"
        figure = figure if row else f"**{figure}**"
        yield [escaped(name), escaped(said), figure, _interval(cell), str(cell.n), attack]


def _without_place(attack: str) -> str:
    """Return an attack without the perturbation that it searches: ``pgd: steps=20, restarts=5``."""
    name, _, rest = attack.partition(" in ")
    settings = rest.partition(" with ")[2]
    return f"{name}: {settings}".removesuffix(": ").removeprefix("draws: ")


def _interval(cell: Proportion) -> str:
    low, high = (100 * end for end in cell.interval)
    return f"{low:.1f}-{high:.1f}"


def table_of_all(table: Table) -> str:
    """Return the table of all models, one a line: accuracies over their 95% intervals."""
    lines = ["union", "mean", *table.rows]
    best = {line: table.best(line) for line in lines}
    rows = [
        [escaped(heading), *(_cell(table, line, i, best=best[line][i]) for line in lines)]
        for i, heading in enumerate(table.headings)
    ]
    return pipe_table(["model", *map(escaped, lines)], rows)


def _cell(table: Table, line: str, place: int, *, best: bool) -> str:
    value = table.values[line][place]
    if value is None:
        return "-"
    figure = f"**{100 * value:.1f}**" if best else f"{100 * value:.1f}"
    cell = table.measured.get(line, ())[place] if line in table.measured else None
    if cell is None:
        return figure
    low, high = (100 * end for end in cell.interval)
    return f"{figure}<br><sub>{low:.0f}-{high:.0f}</sub>"  # longer ones are broken into two lines


def table_of_costs(table: Table, subject: Subject) -> str:
    """Return what each model was trained on, what that took, and under which name it is loaded."""
    rows = [
        [
            escaped(model),
            f"`{subject.address(model)}`",
            escaped(table.source.columns[model].trained_on) or "-",
            cost_cell(table.costs.get("passes in all", (None,) * len(table.columns))[i]),
            _training_time(table, model),
            f"{subject.sizes[model] / 1e6:.1f}",
        ]
        for i, model in enumerate(table.columns)
    ]
    head = ["model", "load it as", "trained on", "passes in all", "time in all", "MB"]
    return pipe_table(head, rows, words=3)


def _training_time(table: Table, model: str) -> str:
    cost = table.source.columns[model].training_with_parents
    return duration(cost.seconds) if cost else "-"
