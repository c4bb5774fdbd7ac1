"""The gate's weights as an SVG file: the heat map of the report, with its own colours."""

from markupsafe import Markup

from morex.artifacts.gate_usage import GateUsage
from morex.report.charts.heat import heat_marks
from morex.report.charts.svg import element, text, width_of
from morex.report.sections.gate import weights_chart

_STYLE = (
    "text { font: 12px sans-serif; fill: #1a1d21 } .title { font-size: 15px; font-weight: bold } "
    ".axis, .note { fill: #59616b } .cell { fill: #0b5cad; stroke: #d9dde3 } .on { fill: #ffffff }"
)
_HEAD, _FOOT = 34, 26


def to_heatmap(gate: GateUsage, title: str) -> str:
    """Return an SVG with a row per attack and a column per expert, the mean weight in each cell."""
    width, height, marks = heat_marks(weights_chart(gate))
    width, height = max(width, 20 + 1.3 * width_of(title)), height + _HEAD + _FOOT
    note = f"mean weight of each expert; n = {gate.n} test images"
    drawn = element(
        "svg",
        element("title", title),
        element("style", Markup(_STYLE)),
        element("rect", width=width, height=height, fill="#ffffff"),
        text(10, 22, title, class_="title"),
        element("g", *marks, transform=f"translate(0 {_HEAD})"),
        text(10, height - 9, note, class_="note"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
    )
    return f"{drawn}\n"
