"""``morex plan``: what a run would take, without training anything."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from morex.cli.options import (
    DataFolder,
    Device,
    ImageSize,
    Overrides,
    RecipeName,
    read_device,
    read_recipe,
)
from morex.cli.output import AsJson, print_json
from morex.cli.progress import progress
from morex.core.near import not_among
from morex.core.units import count, duration, memory, percent, rough_duration

if TYPE_CHECKING:
    from morex.run import Estimate
    from morex.run.forecast import Gpu
    from morex.run.simulation import Simulated

AsGpu = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="GPU",
        help="Forecast the times on a GPU that is not here, from measurements of others: h200.",
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="Also show how long the run would take on these numbers of workers, such as 1,8,64: a "
        "simulation in which each stage takes its usual time.",
    ),
]


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    data: DataFolder = None,
    image_size: ImageSize = None,
    device: Device = None,
    as_gpu: AsGpu = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Show a recipe's stages, and estimate their time and memory on this machine.

    Nothing is trained: each kind of network is timed on a few images. The times of evaluations are
    upper bounds, because an attack ends early on images that it fools. The time of the whole run
    is what such runs usually take. With `--as` nothing is timed: the times are a forecast.

    Example: `morex plan digits network.width=16`
    """
    from morex.run import default_jobs, estimate
    from morex.run.gpu_setup import START

    loaded, gpu = read_recipe(recipe, overrides, data, image_size), _gpu(as_gpu, device)
    numbers = _numbers(workers)
    where = read_device("cpu" if gpu else device)
    with progress(f"plan {loaded.name}") as report:
        estimates = estimate(loaded, where, report, gpu)
    place = f"{gpu.name} (forecast)" if gpu else where.type
    jobs = 1 if gpu else default_jobs(loaded, where)
    start = START if gpu or where.type == "cuda" else 0.0
    simulated = [simulated_run(estimates, number) for number in numbers]
    if as_json:
        facts = {"device": place, "jobs": jobs, "start_seconds": start}
        found = {"workers": [_run_facts(one, start) for one in simulated]} if simulated else {}
        print_json(facts | {"stages": [*map(_facts, estimates)]} | found)
        return
    width = None if sys.stdout.isatty() else 100
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    console.print(plan_table(estimates, place, jobs, start))
    if simulated:
        console.print(workers_table(simulated, start))


def _numbers(text: str | None) -> list[int]:
    """Return the numbers of workers in a text such as ``1,8,64``."""
    if text is None:
        return []
    found = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(found) < len(text.split(",")) or min(found) < 1:
        raise ValueError(f"--workers {text!r}: expected numbers from 1, such as 1,8,64")
    return found


def simulated_run(estimates: list["Estimate"], workers: int) -> "Simulated":
    """Return how a run goes on some workers if each stage takes its usual time."""
    from morex.run.simulation import Timed, simulate

    timed = [Timed(e.stage.id, e.stage.needs, e.usual_seconds, e.parts) for e in estimates]
    return simulate(timed, workers)


def workers_table(runs: list["Simulated"], start: float) -> Table:
    """Return a table of simulated runs.

    Args:
        runs: on different numbers of workers.
        start: seconds until the first stage.
    """
    last = runs[-1]
    table = Table(
        title="on several workers (simulated)",
        caption=f"no number of workers is faster than the longest chain of stages, "
        f"{rough_duration(start + last.chain_seconds)} on {last.workers}: {', '.join(last.chain)}",
    )
    for name in ("workers", "time", "worker hours", "at work"):
        table.add_column(name, justify="right")
    for run in runs:
        facts = _run_facts(run, start)
        hours = f"{facts['worker_hours']:.3g}"
        table.add_row(str(run.workers), duration(facts["seconds"]), hours, percent(run.used))
    return table


def _run_facts(run: "Simulated", start: float) -> dict[str, Any]:
    seconds = start + run.seconds
    return {
        "workers": run.workers,
        "seconds": seconds,
        "worker_hours": run.workers * seconds / 3600,
        "used": run.used,
        "chain": run.chain,
        "chain_seconds": start + run.chain_seconds,
    }


def _gpu(name: str | None, device: str | None) -> "Gpu | None":
    """Return the GPU of ``--as``."""
    from morex.run.forecast import GPUS

    if name is None:
        return None
    if device is not None:
        raise ValueError("--as is for a GPU that is not here; leave out --device")
    if name.lower() not in GPUS:
        raise ValueError(f"--as {name}: {not_among('GPU', name, GPUS)}")
    return GPUS[name.lower()]


_WHERE = {
    "cpu": "these are times of this CPU; see --as for those of a GPU",
    "forecast": "not measured here: a forecast from figures of one network on such a GPU",
}


def plan_table(estimates: list["Estimate"], place: str, jobs: int, start: float = 0.0) -> Table:
    """Return a table of the stages and their sums.

    Args:
        estimates: the stages.
        place: the device, or the GPU of a forecast.
        jobs: how many stages run at a time.
        start: seconds until the first stage.
    """
    seconds = start + sum(e.seconds for e in estimates) / jobs
    usual = start + sum(e.usual_seconds for e in estimates) / jobs
    remark = _WHERE.get("forecast" if "forecast" in place else place, "")
    table = Table(
        title=f"{len(estimates)} stages on {place}",
        caption=f"{jobs} at a time: usually about {rough_duration(usual)} in all, at most "
        f"{rough_duration(seconds)}; the data and torch itself need memory too"
        + (f"\n{remark}" if remark else ""),
        show_footer=True,
    )
    table.add_column("stage", footer="all")
    table.add_column("parameters", justify="right")
    forward = sum(e.cost.forward for e in estimates)
    backward = sum(e.cost.backward for e in estimates)
    table.add_column("forward", justify="right", footer=count(forward))
    table.add_column("backward", justify="right", footer=count(backward))
    table.add_column("time", justify="right", footer=duration(sum(e.seconds for e in estimates)))
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
