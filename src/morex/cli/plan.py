"""``morex plan``: what a run would take, without training anything."""

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from morex.cli.options import DataFolder, ImageSize, Overrides, RecipeName, read_recipe
from morex.cli.output import AsJson, print_json
from morex.cli.progress import progress
from morex.core.units import count, duration, memory, rough_duration

if TYPE_CHECKING:
    import torch

    from morex.run import Estimate


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    data: DataFolder = None,
    image_size: ImageSize = None,
    as_json: AsJson = False,
) -> None:
    """Show a recipe's stages, and estimate their time and memory on this machine.

    Nothing is trained: each kind of network is timed on a few images. The times of evaluations are
    upper bounds, because an attack ends early on images that it fools. The time of the whole run
    is what such runs usually take.

    Example: `morex plan digits network.width=16`
    """
    from morex.core.precision import default_device
    from morex.run import default_jobs, estimate

    loaded = read_recipe(recipe, overrides, data, image_size)
    device = default_device()
    with progress(f"plan {loaded.name}") as report:
        estimates = estimate(loaded, device, report)
    jobs = default_jobs(loaded, device)
    if as_json:
        print_json({"device": device.type, "jobs": jobs, "stages": [*map(_facts, estimates)]})
        return
    shown = plan_table(estimates, device, jobs)
    width = None if sys.stdout.isatty() else 100
    Console(width=width, highlight=False, markup=False, emoji=False).print(shown)


def plan_table(estimates: list["Estimate"], device: "torch.device", jobs: int) -> Table:
    """Return a table of the stages and their sums, where ``jobs`` stages run at a time."""
    seconds = sum(e.seconds for e in estimates)
    usual = sum(e.usual_seconds for e in estimates)
    table = Table(
        title=f"{len(estimates)} stages on {device.type}",
        caption=f"{jobs} at a time: usually about {rough_duration(usual / jobs)} in all, at most "
        f"{rough_duration(seconds / jobs)}; the data and torch itself need memory too",
        show_footer=True,
    )
    table.add_column("stage", footer="all")
    table.add_column("parameters", justify="right")
    forward = sum(e.cost.forward for e in estimates)
    backward = sum(e.cost.backward for e in estimates)
    table.add_column("forward", justify="right", footer=count(forward))
    table.add_column("backward", justify="right", footer=count(backward))
    table.add_column("time", justify="right", footer=duration(seconds))
    table.add_column("memory", justify="right", footer=memory(max(e.bytes for e in estimates)))
    for e in estimates:
        table.add_row(*_cells(e))
    return table


def _facts(estimate: "Estimate") -> dict[str, Any]:
    """Return what is known of a stage as JSON values; those of evaluations are bounds."""
    return {
        "stage": estimate.stage.id,
        "parameters": estimate.parameters,
        "forward": estimate.cost.forward,
        "backward": estimate.cost.backward,
        "seconds": estimate.seconds,
        "usual_seconds": estimate.usual_seconds,
        "bytes": estimate.bytes,
    }


def _cells(estimate: "Estimate") -> tuple[str, ...]:
    """Return a stage's row; the sizes of evaluations and illustrations are upper bounds."""
    bound = "" if estimate.stage.makes_a_model else "≤ "
    return (
        estimate.stage.id,
        count(estimate.parameters),
        bound + count(estimate.cost.forward),
        bound + count(estimate.cost.backward),
        bound + duration(estimate.seconds),
        memory(estimate.bytes),
    )
