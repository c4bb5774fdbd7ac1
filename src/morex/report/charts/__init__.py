"""Charts as inline SVG: small pure functions from numbers to marks, without any library.

Colours are classes (``s0`` to ``s7``) that the page's style sheet gives a meaning in light, dark
and print; every series also has a marker and a dash of its own, so that no chart needs colour.
"""

from morex.report.charts.dots import Dot, DotRow, dot_chart
from morex.report.charts.figure import Cell, DataTable, Figure, Key, Panel
from morex.report.charts.heat import Heat, HeatCell, heat_chart
from morex.report.charts.lines import Line, LineAxes, line_chart
from morex.report.charts.scatter import Spot, scatter_chart
from morex.report.charts.upset import Overlap, upset_chart

__all__ = [
    "Cell",
    "DataTable",
    "Dot",
    "DotRow",
    "Figure",
    "Heat",
    "HeatCell",
    "Key",
    "Line",
    "LineAxes",
    "Overlap",
    "Panel",
    "Spot",
    "dot_chart",
    "heat_chart",
    "line_chart",
    "scatter_chart",
    "upset_chart",
]
