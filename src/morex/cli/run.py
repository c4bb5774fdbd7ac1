"""``morex run``: train and evaluate everything in a recipe."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from morex.cli.options import (
    DataFolder,
    Device,
    ImageSize,
    Jobs,
    Overrides,
    RecipeName,
    read_device,
    read_recipe,
)
from morex.cli.output import say
from morex.cli.report import report_even_if_stopped, write_pages
from morex.cli.table import print_table

if TYPE_CHECKING:
    import torch

    from morex.recipe import Recipe
    from morex.run import Event, Observer
    from morex.run.launched import Group

RunOut = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="The run directory; by default runs/NAME-OF-RECIPE. It may be a URL that fsspec "
        "knows, such as s3://bucket/runs/digits.",
    ),
]
MoreSuites = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="One more suite to evaluate with, such as autoattack or adaptive; may be repeated.",
    ),
]
SuiteExamples = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="How many test images to use in each of these suites; by default all that "
        "the recipe uses.",
    ),
]
CheckpointEvery = Annotated[
    float,
    typer.Option(
        min=0, metavar="SECONDS", help="The seconds between two checkpoints of a training."
    ),
]
OnRay = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Do the stages on this Ray cluster, such as 10.0.0.1:6379; auto is the one that this "
        "machine belongs to, local is one that is started here for the run. --out must be on "
        "storage that all its machines reach.",
    ),
]
WithEvents = Annotated[
    bool,
    typer.Option("--tensorboard", help="Write TensorBoard event files to RUN/events."),
]


def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: RunOut = None,
    suite: MoreSuites = None,
    suite_examples: SuiteExamples = None,
    data: DataFolder = None,
    image_size: ImageSize = None,
    device: Device = None,
    checkpoint_every: CheckpointEvery = 30.0,
    jobs: Jobs = None,
    ray: OnRay = None,
    tensorboard: WithEvents = False,
) -> None:
    """Train and evaluate everything in a recipe, and write its table and report page.

    Finished stages are not redone. You may stop a run at any time: the same command continues
    where it stopped and ends with the same bits.

    Example: `morex run digits seed=1 training.epochs=20 --out runs/digits-1`
    """
    from morex.cli.tensorboard import with_event_files
    from morex.core.units import duration
    from morex.run import run as do_run
    from morex.run.storage import working_folder

    with among_others(device) as (group, its_device):
        if suite_examples and not suite:
            raise ValueError(
                "--suite-examples is for suites that --suite adds; give --suite as well"
            )
        more = [f"evaluation.suites.{name}={_use(suite_examples)}" for name in suite or ()]
        loaded = read_recipe(recipe, [*(overrides or []), *more], data, image_size)
        place = out or str(Path("runs") / loaded.name)
        folder = working_folder(place)
        started = time.monotonic()
        with observing(folder) as observer:
            do_run(
                loaded,
                place,
                device=its_device,
                observer=with_event_files(observer, folder / "events" if tensorboard else None),
                checkpoint_every=checkpoint_every,
                jobs=jobs,
                ray=ray,
                group=group,
            )
        show_results(place, loaded, f"done in {duration(time.monotonic() - started)}")


@contextmanager
def among_others(device: str | None) -> Iterator[tuple["Group | None", "torch.device"]]:
    """Yield the processes that torchrun or srun has started with this one, and its device.

    Only the first of them goes on; the others help it in here, and exit.
    """
    from morex.run.launched import Place, joined
    from morex.run.together import help_run

    place, its_device = Place.of(os.environ), read_device(device)
    if place is None:
        yield None, its_device
        return
    its_device = place.device(its_device)
    with joined(place, its_device) as group:
        if not group.world.leads:
            raise typer.Exit(help_run(group, its_device))
        yield group, its_device


@contextmanager
def observing(folder: Path) -> Iterator["Observer"]:
    """Yield an observer that shows the progress of a run in ``folder`` on standard error.

    If the run is stopped or fails, its report page is written with the results so far. A page of
    earlier results is removed once a stage starts: a run that is killed writes none.
    """
    from morex.cli.progress_lines import progress_printer
    from morex.report.page import PAGE
    from morex.run import Started

    with report_even_if_stopped(folder), progress_printer(Console(stderr=True)) as shown:

        def observer(event: "Event") -> None:
            if isinstance(event, Started):
                (folder / PAGE).unlink(missing_ok=True)
            shown(event)

        yield observer


def show_results(place: str, recipe: "Recipe", summary: str) -> None:
    """Print the tables of a finished run, a summary, and where its results and page are."""
    from morex.run.storage import working_folder

    folder = working_folder(place)
    for suite in ("", *recipe.evaluation.suites):
        print_table(folder, "text", suite)
    say(f"{summary}; results are in {place}; show them again with: morex table {place}")
    say(f"report: {write_pages([folder], show=False)}")


def _use(examples: int | None) -> str:
    return json.dumps({"examples": examples})
