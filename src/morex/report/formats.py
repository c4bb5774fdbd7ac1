"""The table for other programs: JSON in the layout of the paper's table, markdown and CSV."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from morex.artifacts.notes import content as notes_content
from morex.artifacts.statistics import Proportion
from morex.core.units import three_digits
from morex.report.caption import caption
from morex.report.table import Cells, Table


def to_json(table: Table) -> str:
    """Return the table as JSON, with one line per row of the table.

    ``rows``, ``union`` and ``mean`` hold percentages with two decimals, one per entry of
    ``columns``; ``intervals`` their 95% Wilson intervals [low, high]; ``n`` the number of examples,
    or a list where the columns differ. What was not measured is null. ``paper`` holds the figures
    of the paper's Table 1 where the setting matches, and is absent where nothing matches.
    ``levels`` has the chance and the majority level, ``collapsed`` the models that do no better
    and why, and ``notes`` what else the evaluations noticed; they are absent where there is nothing
    to say.
    """
    return _json_lines(as_dict(table))


def as_dict(table: Table) -> dict[str, Any]:
    """Return the content of ``to_json`` as lists and dictionaries."""
    values = {name: _percents(line) for name, line in table.values.items()}
    source = table.source
    content: dict[str, Any] = {
        "title": table.title,
        "settings": source.setting.content(),
        "attacks": {row: entry.model_dump() for row, entry in source.rows.items()},
        "columns": list(table.columns),
        "rows": {row: values[row] for row in table.rows},
        "union": values["union"],
        "mean": values["mean"],
        "costs": {name: list(line) for name, line in table.costs.items()},
        "intervals": {name: list(map(_interval, cells)) for name, cells in table.measured.items()},
        "n": {name: _counts(cells) for name, cells in table.measured.items()},
        "missing": list(source.missing),
        "seed": source.seed,
        "models": {name: entry.model_dump() for name, entry in source.columns.items()},
        "stages": {name: entry.content() for name, entry in source.stages.items()},
        "provenance": source.provenance.content(),
    }
    if known := table.levels:
        content["levels"] = {"chance": _percent(known.chance), "majority": _percent(known.majority)}
    if table.collapsed:
        content["collapsed"] = dict(table.collapsed)
    if table.notes:
        content["notes"] = {name: notes_content(notes) for name, notes in table.notes.items()}
    if table.paper:
        content["paper"] = {row: list(figures) for row, figures in table.paper.items()}
    return content


def to_markdown(table: Table) -> str:
    """Return a pipe table of percentages with one decimal, the best of each line in bold.

    The paper's figures follow in parentheses where the setting matches.
    """
    head = ["attack", *map(escaped, table.headings)]
    lines = [head, ["---", *("---:" for _ in table.columns)]]
    for name, values in table.values.items():
        paper = table.paper.get(name, (None,) * len(values))
        cells = map(_markdown_cell, values, table.best(name), paper)
        lines.append([escaped(name), *cells])
    lines += [[name, *map(cost_cell, line)] for name, line in table.cost_lines.items()]
    pipes = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(f"- {escaped(note)}" for note in caption(table))
    return f"**{escaped(table.title)}**\n\n{pipes}\n\n{notes}\n"


def to_csv(table: Table) -> str:
    """Return one line per cell: row, column, accuracy, low, high (percent), n, paper (percent).

    The rows ``union`` and ``mean`` come last; fields that do not apply are empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "column", "accuracy", "low", "high", "n", "paper"])
    writer.writerows(_csv_lines(table))
    return text.getvalue()


def _csv_lines(table: Table) -> Iterator[list[Any]]:
    nothing = (None,) * len(table.columns)
    for name, values in table.values.items():
        cells: Cells = table.measured.get(name, nothing)
        paper = table.paper.get(name, nothing)
        for i, column in enumerate(table.columns):
            cell = cells[i]
            low, high = _interval(cell) or (None, None)
            n = cell.n if cell else None
            yield [_cell(name), _cell(column), _percent(values[i]), low, high, n, paper[i]]


def _cell(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def _percents(values: Sequence[float | None]) -> list[float | None]:
    return [_percent(value) for value in values]


def _interval(cell: Proportion | None) -> tuple[float, float] | None:
    if cell is None:
        return None
    low, high = cell.interval
    return round(100 * low, 2), round(100 * high, 2)


def _counts(cells: Cells) -> int | list[int | None] | None:
    """Return the number of examples, or one per column if they differ."""
    counts = [cell.n if cell else None for cell in cells]
    known = set(counts) - {None}
    return counts if len(known) > 1 else next(iter(known), None)


def _markdown_cell(value: float | None, is_best: bool, paper: float | None) -> str:
    text = "-" if value is None else f"{100 * value:.1f}"
    text = f"**{text}**" if is_best else text
    return text if paper is None else f"{text} ({paper:.1f})"


def cost_cell(count: int | None) -> str:
    """Return a cost with three digits, or a dash if it is unknown."""
    return "-" if count is None else three_digits(count)


def escaped(text: str) -> str:
    """Return text in which nothing is taken for a cell's end, for HTML or for a link."""
    line = " ".join(text.split("\n")).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|\[`])", r"\\\1", line)


def _json_lines(content: dict[str, Any]) -> str:
    """Return a dictionary as JSON, with a line per key and per key of its dictionaries."""
    lines = (f" {json.dumps(key)}: {_json_entry(value)}" for key, value in content.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _json_entry(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    lines = (f"  {json.dumps(key)}: {json.dumps(inner)}" for key, inner in value.items())
    return "{\n" + ",\n".join(lines) + "\n }"
