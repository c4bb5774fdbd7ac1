"""``morex gate``: how a mixture's gate weights its experts."""

from pathlib import Path

from morex.artifacts.gate_usage import GateUsage
from morex.core.files import write_atomically
from morex.report import read_results, to_heatmap


def show_gate(run: Path, model: str | None, svg: Path | None) -> str:
    """Return the mean weights as text, a line per row; write the heat map if a file is given.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results yet.
        ValueError: if the run has no such mixture.
    """
    columns = read_results(run).file.columns
    gates = {name: column.gate for name, column in columns.items() if column.gate}
    name = model or next(reversed(gates), "")
    if name not in gates:
        have = f"only {', '.join(gates)}" if gates else "none"
        raise ValueError(f"the run {str(run)!r} has no mixture {name!r} with a gate, {have}")
    gate, title = gates[name], f"Where the gate of {name} puts its weight"
    if svg:
        write_atomically(svg, to_heatmap(gate, title).encode())
    return _text(gate, title)


def _text(gate: GateUsage, title: str) -> str:
    names = max(map(len, gate.weights))
    width = max(6, *map(len, gate.experts))
    head = " ".join([" " * names, *(expert.rjust(width) for expert in gate.experts)])
    lines = [
        " ".join([row.ljust(names), *(f"{weight:.2f}".rjust(width) for weight in weights)])
        for row, weights in gate.weights.items()
    ]
    note = f"mean weight of each expert on {gate.n} test images, attacked as the row says"
    return "\n".join([title, head, *lines, note])
