"""Tables and pages from the files of a run. Torch is never imported.

===============  =================================================================
``results``      reads ``results.json`` and the outcomes
``weights``      whether figures are about the weights that a run has now
``table``        the table of a run: models across, attacks down
``known_rows``   rows that two models can be compared on
``collapse``     models that do no better than guessing
``paper``        figures of the paper's Table 1
``text``         the table for people
``formats``      the table as JSON, Markdown and CSV
``caption``      the notes under a table
``material``     everything in a run directory that the page shows
``page``         the report page of a run
``comparison``   the page that compares runs
``predictions``  the page of ``morex predict``
``card``         the model card of published models
``watching``     how far a run in progress is
``watch_page``   the page of ``morex watch``
``sections``     the sections of the page
``charts``       charts as inline SVG
``gate_words``   what a gate does, in sentences
``heatmap``      the gate's weights as an SVG file
``images``       pictures in the page
===============  =================================================================
"""

from collections.abc import Callable, Mapping

from morex.artifacts.results import ColumnEntry, ResultsFile, RowEntry
from morex.report.formats import to_csv, to_json, to_markdown
from morex.report.gate_words import gate_sentences
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
    "gate_sentences",
    "make_table",
    "paper_figure",
    "read_results",
    "to_csv",
    "to_heatmap",
    "to_json",
    "to_markdown",
    "to_text",
]
