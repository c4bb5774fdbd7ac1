"""The gate's weights as a picture: a heat map in SVG, legible without colour."""

from html import escape

from morex.report.results import Gate

_CELL, _ROW, _LABEL, _TOP = 74, 34, 96, 74
_DARK = 0.55
"""From this weight on the number in a cell is white."""


def to_heatmap(gate: Gate, title: str) -> str:
    """Return an SVG with a row per attack and a column per expert, the mean weight in each cell."""
    width = _LABEL + _CELL * len(gate.experts) + 16
    height = _TOP + _ROW * len(gate.weights) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for i, expert in enumerate(gate.experts):
        parts.append(_text(_LABEL + _CELL * (i + 0.5), _TOP - 12, expert))
    for j, (row, weights) in enumerate(gate.weights.items()):
        y = _TOP + _ROW * j
        parts.append(_text(_LABEL - 10, y + 22, row, anchor="end"))
        parts += [_cell(_LABEL + _CELL * i, y, weight) for i, weight in enumerate(weights)]
    note = f"mean weight of each expert; n = {gate.n} test images"
    parts.append(_text(10, height - 12, note, anchor="start", fill="#555"))
    return "\n".join([*parts, "</svg>\n"])


def _cell(x: int, y: int, weight: float) -> str:
    shade = [round(255 - weight * (255 - dark)) for dark in (8, 69, 148)]
    box = (
        f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_ROW - 2}" '
        f'fill="rgb({shade[0]},{shade[1]},{shade[2]})" stroke="#ccc"/>'
    )
    fill = "white" if weight >= _DARK else "black"
    return box + _text(x + _CELL / 2, y + 22, f"{weight:.2f}", fill=fill)


def _text(x: float, y: float, text: str, *, anchor: str = "middle", fill: str = "black") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
