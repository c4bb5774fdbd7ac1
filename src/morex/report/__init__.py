"""Tables and pages from a run's stored results: files in, text out; torch is never imported."""

from collections.abc import Callable, Mapping

from morex.artifacts.results import ColumnEntry, ResultsFile, RowEntry
from morex.report.formats import to_csv, to_json, to_markdown
from morex.report.heatmap import to_heatmap
from morex.report.paper import paper_figure
from morex.report.results import RunResults, read_results
from morex.report.table import Table, make_table
from morex.report.text import to_text

FORMATS: Mapping[str, Callable[[Table], str]] = {
    "text": to_text,
    "json": to_json,
    "markdown": to_markdown,
    "csv": to_csv,
}
"""Every way to write a table, by name."""

__all__ = [
    "FORMATS",
    "ColumnEntry",
    "ResultsFile",
    "RowEntry",
    "RunResults",
    "Table",
    "make_table",
    "paper_figure",
    "read_results",
    "to_csv",
    "to_heatmap",
    "to_json",
    "to_markdown",
    "to_text",
]
