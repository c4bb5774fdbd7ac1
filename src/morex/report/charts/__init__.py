"""Charts as inline SVG: pure functions from numbers to marks.

===========  =======================================================
``dots``     rows of dots with intervals
``lines``    lines with markers
``scatter``  named spots against a cost
``heat``     heat maps
``upset``    which examples several attacks break together
``labels``   names beside points
``figure``   message, note, legend and numbers of a chart
``svg``      SVG elements, scales and ticks
===========  =======================================================

Colours are classes (``s0`` to ``s7``), which the page's style sheet defines for light, dark and
print. Each series also has its own marker and dash, so that charts can be read without colour.
"""

from morex.report.charts.dots import Dot, DotRow, dot_chart
from morex.report.charts.figure import PHONE, Cell, DataTable, Figure, Key, Panel
from morex.report.charts.heat import Heat, HeatCell, heat_chart
from morex.report.charts.lines import Line, LineAxes, line_chart
from morex.report.charts.scatter import Spot, scatter_chart
from morex.report.charts.upset import Overlap, upset_chart

__all__ = [
    "PHONE",
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
