"""The table that ``morex plan`` prints."""

import torch
from rich.table import Table

from morex.run import Estimate


def plan_table(estimates: list[Estimate], device: torch.device, jobs: int) -> Table:
    """Return a table of the stages with their sums; ``jobs`` of them are done at a time."""
    seconds = sum(e.seconds for e in estimates)
    table = Table(
        title=f"{len(estimates)} stages on {device.type}",
        caption=f"{jobs} at a time: all in about {_time(seconds / jobs)} or less",
        show_footer=True,
    )
    table.add_column("stage", footer="all")
    table.add_column("parameters", justify="right")
    table.add_column("forward", justify="right", footer=_count(_sum_forward(estimates)))
    table.add_column("backward", justify="right", footer=_count(_sum_backward(estimates)))
    table.add_column("time", justify="right", footer=_time(seconds))
    table.add_column("memory", justify="right", footer=_memory(max(e.bytes for e in estimates)))
    for e in estimates:
        bound = "≤ " if e.stage.kind == "evaluate" else ""
        table.add_row(
            e.stage.id,
            _count(e.parameters),
            bound + _count(e.cost.forward),
            bound + _count(e.cost.backward),
            bound + _time(e.seconds),
            _memory(e.bytes),
        )
    return table


def _sum_forward(estimates: list[Estimate]) -> float:
    return sum(e.cost.forward for e in estimates)


def _sum_backward(estimates: list[Estimate]) -> float:
    return sum(e.cost.backward for e in estimates)


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _memory(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
