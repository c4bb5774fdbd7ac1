"""The table of a run: models across, attacks down, every figure computed from the outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from morex.artifacts.notes import Note
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.results import Cost, ResultsFile, Setting
from morex.artifacts.statistics import Proportion
from morex.report.collapse import Levels, collapsed, levels
from morex.report.paper import paper_columns, paper_figure
from morex.report.results import RunResults

Cells = tuple[Proportion | None, ...]
"""One row of the table: an accuracy per column, None where nothing was measured."""


_COST_NAMES = {"passes": "own passes"}
"""Names for people, where they differ from those in files."""


@dataclass(frozen=True)
class Table:
    """A run's accuracies: ``columns`` are models, ``rows`` map an attack to one cell per model.

    ``union`` counts an example only if the model is right on it under every row; ``mean`` is the
    plain mean of the rows' accuracies in [0, 1]. Both are None for a model that lacks a row:
    they could not be compared. ``paper`` has the rows with at least one comparable figure of the
    paper's Table 1 (percent). ``collapsed`` says why models are called that (``collapse``): they
    are the best of nothing. ``levels`` is what guessing gets right, None if that is unknown.
    ``notes`` has what else the evaluation of a model noticed.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Cells]
    union: Cells
    mean: tuple[float | None, ...]
    paper: Mapping[str, tuple[float | None, ...]]
    source: ResultsFile
    collapsed: Mapping[str, str] = field(default_factory=dict)
    levels: Levels | None = None
    notes: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)

    def best(self, line: str) -> tuple[bool, ...]:
        """Return which models have the largest figure of a line.

        Ties count; zeros and collapsed models never do.
        """
        judged = [
            None if name in self.collapsed else value
            for name, value in zip(self.columns, self.values[line], strict=True)
        ]
        largest = max((value for value in judged if value), default=None)
        return tuple(value is not None and value == largest for value in judged)

    @property
    def headings(self) -> tuple[str, ...]:
        """The names of the models; collapsed ones are called that."""
        return tuple(
            f"{name} (collapsed)" if name in self.collapsed else name for name in self.columns
        )

    @property
    def measured(self) -> dict[str, Cells]:
        """The rows, then the union: everything that has counts and intervals."""
        return {**self.rows, "union": self.union}

    @property
    def values(self) -> dict[str, tuple[float | None, ...]]:
        """Accuracies in [0, 1] of all lines of the table: the rows, the union and the mean."""
        lines = {
            name: tuple(cell.value if cell else None for cell in cells)
            for name, cells in self.measured.items()
        }
        return {**lines, "mean": self.mean}

    @property
    def cost_lines(self) -> dict[str, tuple[int | None, ...]]:
        """The costs, under names for people: a model's own training is not all that it took."""
        return {_COST_NAMES.get(name, name): line for name, line in self.costs.items()}

    @property
    def costs(self) -> dict[str, tuple[int | None, ...]]:
        """How many images training sent through single networks, forward or backward.

        ``passes`` counts a model's own training; ``passes in all`` adds the training of every
        model that it is built from or started from. Lines without any figure are left out.
        """
        models = [self.source.columns.get(name) for name in self.columns]
        lines = {
            "passes": tuple(_passes(model.training) if model else None for model in models),
            "passes in all": tuple(
                _passes(model.training_with_parents) if model else None for model in models
            ),
        }
        return {name: line for name, line in lines.items() if any(line)}


def make_table(results: RunResults) -> Table:
    """Compute the table of a run; models that are not evaluated yet are columns without figures.

    Columns keep the run's order, or the paper's if the paper has them all.
    """
    file = results.file
    columns = _ordered((*file.columns, *(m for m in file.missing if m not in file.columns)))
    by_column = [results.outcomes.get(name) for name in columns]
    complete = [found if found and _covers(found, file) else None for found in by_column]
    return Table(
        title=_title(file),
        columns=columns,
        rows={row: _cells(by_column, row) for row in file.rows},
        union=tuple(Proportion.of(found.union(file.rows)) if found else None for found in complete),
        mean=tuple(found.mean(file.rows) if found else None for found in complete),
        paper=_paper(file, columns),
        source=file,
        collapsed=collapsed(results),
        levels=levels(results.images),
        notes={name: found.notes for name, found in results.outcomes.items() if found.notes},
    )


def _passes(cost: Cost | None) -> int | None:
    return cost.forward + cost.backward if cost else None


def _ordered(columns: tuple[str, ...]) -> tuple[str, ...]:
    known = paper_columns()
    return tuple(sorted(columns, key=known.index)) if set(columns) <= set(known) else columns


def _covers(outcomes: Outcomes, file: ResultsFile) -> bool:
    return set(file.rows) <= set(outcomes.rows)


def _cells(by_column: Sequence[Outcomes | None], row: str) -> Cells:
    return tuple(
        found.accuracy(row) if found and row in found.rows else None for found in by_column
    )


def _paper(file: ResultsFile, columns: Sequence[str]) -> dict[str, tuple[float | None, ...]]:
    setting = file.setting.content()
    lines = {
        row: tuple(paper_figure(setting, row, entry.perturbation, c) for c in columns)
        for row, entry in file.rows.items()
    }
    return {row: line for row, line in lines.items() if any(f is not None for f in line)}


def _title(file: ResultsFile) -> str:
    return f"{file.name}: test accuracy (%) on {description(file.setting)}"


def description(setting: Setting) -> str:
    """Return what is known, for example ``digits (8x8), resnet10 of width 8``."""
    note = f" ({setting.data_note})" if setting.data_note else ""
    width = f" of width {setting.width}" if setting.width is not None else ""
    return f"{setting.data}{note}, {setting.network}{width}"
