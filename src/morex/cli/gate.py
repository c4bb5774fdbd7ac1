"""``morex gate``: how a mixture's gate weights its experts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.options import RunPlace
from morex.cli.output import AsJson, print_json, say
from morex.core.files import write_atomically
from morex.core.near import did_you_mean

if TYPE_CHECKING:
    from morex.artifacts.gate_usage import GateUsage


def gate(
    run: RunPlace,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A mixture of the run; by default the last one."),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the heat map to this SVG file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a mixture's gate weights its experts under each perturbation, and what it means.

    Example: `morex gate runs/digits --svg gate.svg`
    """
    from morex.artifacts.stored_runs import local_run
    from morex.report import gate_sentences, to_heatmap

    name, weights = gate_of(local_run(run), model)
    title = f"Where the gate of {name} puts its weight"
    if svg:
        write_atomically(svg, to_heatmap(weights, title).encode())
    if as_json:
        print_json({"model": name, **weights.content()})
    else:
        say("\n".join([_table(weights, title), "", *gate_sentences(weights)]))


def gate_of(run: Path, model: str | None) -> "tuple[str, GateUsage]":
    """Return the name of a mixture of a run, by default of the last one, and its gate's weights.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results yet.
        ValueError: if the run has no such mixture.
    """
    from morex.report import read_results

    columns = read_results(run).file.columns
    gates = {name: column.gate for name, column in columns.items() if column.gate}
    name = next(reversed(gates), "") if model is None else model
    if name not in gates:
        raise ValueError(_no_gate(run, name, list(gates)))
    return name, gates[name]


def _no_gate(run: Path, name: str, known: list[str]) -> str:
    if not known:
        return f"the run {str(run)!r} has no mixture with a gate"
    near = did_you_mean(name, known)
    return (
        f"the run {str(run)!r} has no mixture {name!r} with a gate; {near}it has {', '.join(known)}"
    )


def _table(gate: "GateUsage", title: str) -> str:
    names = max(map(len, gate.weights))
    width = max(6, *map(len, gate.experts))
    bits = {row: f"{value:.2f}" for row, value in gate.entropy.items()}
    columns = [*gate.experts, *(["entropy"] if bits else [])]
    head = " ".join([" " * names, *(column.rjust(width) for column in columns)])
    lines = [
        " ".join([row.ljust(names), *(cell.rjust(width) for cell in cells)])
        for row, weights in gate.weights.items()
        for cells in [[*(f"{weight:.2f}" for weight in weights), *([bits[row]] if bits else [])]]
    ]
    note = f"mean weight of each expert on {gate.n} test images, attacked as the row says"
    unit = f"; entropy in bits, at most {gate.largest_entropy:.2f}" if bits else ""
    return "\n".join([title, head, *lines, note + unit])
