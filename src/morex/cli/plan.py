"""The table that ``morex plan`` prints."""

import torch
from rich.table import Table

from morex.core.units import count, duration, memory
from morex.run import Estimate


def plan_table(estimates: list[Estimate], device: torch.device, jobs: int) -> Table:
    """Return a table of the stages with their sums; ``jobs`` of them are done at a time."""
    seconds = sum(e.seconds for e in estimates)
    table = Table(
        title=f"{len(estimates)} stages on {device.type}",
        caption=f"{jobs} at a time: all in about {duration(seconds / jobs)}; "
        "the data and torch itself need memory beside this",
        show_footer=True,
    )
    table.add_column("stage", footer="all")
    table.add_column("parameters", justify="right")
    table.add_column("forward", justify="right", footer=count(_sum_forward(estimates)))
    table.add_column("backward", justify="right", footer=count(_sum_backward(estimates)))
    table.add_column("time", justify="right", footer=duration(seconds))
    table.add_column("memory", justify="right", footer=memory(max(e.bytes for e in estimates)))
    for e in estimates:
        bound = "" if e.stage.makes_a_model else "≤ "
        table.add_row(
            e.stage.id,
            count(e.parameters),
            bound + count(e.cost.forward),
            bound + count(e.cost.backward),
            bound + duration(e.seconds),
            memory(e.bytes),
        )
    return table


def _sum_forward(estimates: list[Estimate]) -> float:
    return sum(e.cost.forward for e in estimates)


def _sum_backward(estimates: list[Estimate]) -> float:
    return sum(e.cost.backward for e in estimates)
