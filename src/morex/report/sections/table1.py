"""Table 1 for the page: every cell with its interval, the best of each row, the paper's figures."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import compress

from morex.artifacts.statistics import Proportion
from morex.report.caption import caption
from morex.report.formats import cost_cell
from morex.report.material import Material
from morex.report.sections.base import Section
from morex.report.table import Table


@dataclass(frozen=True)
class Shown:
    """A cell: the accuracy in percent, its interval, the paper's figure, and how dark it is."""

    figure: str
    interval: str
    paper: str
    is_best: bool
    shade: int


@dataclass(frozen=True)
class ShownRow:
    """A line of the table, with a description of its attack."""

    name: str
    about: str
    cells: tuple[Shown | None, ...]
    computed: bool


def table_section(material: Material) -> Section:
    """Return the table of the run."""
    return _section("table", "Table 1", material.table)


def suite_sections(material: Material) -> Iterator[Section]:
    """Yield the tables of further suites."""
    for name, table in material.suites.items():
        yield _section(f"suite-{name}", f"Suite: {name}", without_missing(table))


def without_missing(table: Table) -> Table:
    """Return a table of the models that are evaluated."""
    there = [name in table.source.columns for name in table.columns]
    return replace(
        table,
        columns=tuple(compress(table.columns, there)),
        rows={row: tuple(compress(cells, there)) for row, cells in table.rows.items()},
        union=tuple(compress(table.union, there)),
        mean=tuple(compress(table.mean, there)),
        paper={row: tuple(compress(cells, there)) for row, cells in table.paper.items()},
    )


def _section(id: str, title: str, table: Table) -> Section:
    content = {
        "columns": table.columns,
        "missing": table.source.missing,
        "collapsed": table.collapsed,
        "rows": list(_rows(table)),
        "costs": list(_costs(table)),
        "notes": ["framed and bold: best in its row", *caption(table)],
    }
    return Section(id, title, _lead(table), part="table1.html", content=content)


def _lead(table: Table) -> str:
    paper = " Figures in parentheses are the paper's." if table.paper else ""
    return (
        "Accuracy on the test images in percent, with 95% intervals. Columns are models, rows are "
        f"attacks.{paper}"
    )


def _rows(table: Table) -> Iterator[ShownRow]:
    nothing = (None,) * len(table.columns)
    for name, values in table.values.items():
        counted = table.measured.get(name, nothing)
        paper = table.paper.get(name, nothing)
        cells = map(_cell, values, counted, paper, table.best(name))
        entry = table.source.rows.get(name)
        yield ShownRow(name, entry.attack if entry else "", tuple(cells), entry is None)


def _cell(
    value: float | None, counted: Proportion | None, paper: float | None, is_best: bool
) -> Shown | None:
    if value is None:
        return None
    interval = "–".join(f"{100 * end:.1f}" for end in counted.interval) if counted else ""
    written = f"({paper:.1f})" if paper is not None else ""
    return Shown(f"{100 * value:.1f}", interval, written, is_best, round(42 * value))


def _costs(table: Table) -> Iterator[tuple[str, str, list[str]]]:
    """Yield a name, an explanation and a cell per model."""
    about = {
        "own passes": "images sent forward or backward through single networks while the model "
        "itself was trained",
        "passes in all": "the same, including every model that it is built from or started from",
    }
    for name, line in table.cost_lines.items():
        yield name, about[name], [cost_cell(value) for value in line]
    seconds = [_seconds(table, name) for name in table.columns]
    if any(seconds):
        yield "seconds in all", "time of those trainings on the machine of the run", seconds


def _seconds(table: Table, name: str) -> str:
    entry = table.source.columns.get(name)
    cost = entry.training_with_parents if entry else None
    return f"{cost.seconds:,.0f}" if cost else ""
