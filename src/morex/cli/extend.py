"""``morex extend`` and ``morex shrink``: a trained mixture with more, or fewer, experts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.options import (
    DataFolder,
    Device,
    Jobs,
    Overrides,
    RunPlace,
    TrustCode,
    all_overrides,
    finished_run,
    read_device,
)
from morex.cli.output import say
from morex.cli.run import observing, show_results
from morex.core.object_store import is_url

if TYPE_CHECKING:
    from morex.recipe import Recipe

Added = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="PERTURBATION",
        help="A perturbation to add: a kind such as rain, file.py:Class, or "
        "'name: {kind: rain, drops: 100}'; may be repeated.",
    ),
]
Experts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=MODEL",
        help="A trained expert for an added perturbation: rain=FOLDER, rain=NAME of a shipped "
        "model, or rain=path/to/net.py:factory for any torch classifier; may be repeated.",
    ),
]
ExtendedMixture = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The mixture to extend; by default the last one in the table."
    ),
]
ExtendedRun = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="The new run directory, or its URL; by default RUN-NAME, such as RUN-rain.",
    ),
]
Removed = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="An expert to remove from the mixture; may be repeated."),
]
ShrunkMixture = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The mixture to shrink; by default the last one in the table."
    ),
]
ShrunkRun = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="The new run directory, or its URL; by default RUN-without-NAME, such as "
        "RUN-without-M2.",
    ),
]


def extend(
    run: RunPlace,
    overrides: Overrides = None,
    added: Added = None,
    expert: Experts = None,
    mixture: ExtendedMixture = None,
    out: ExtendedRun = None,
    data: DataFolder = None,
    device: Device = None,
    jobs: Jobs = None,
    trust_code: TrustCode = False,
) -> None:
    """Add perturbations to a trained mixture: an expert for each, and a gate that knows them.

    Everything that is already trained is kept. The new run has the old models and rows, the new
    experts, the extended mixture, and rows for the new perturbations.

    Example: `morex extend runs/digits --with rain models.Mrain.training.epochs=5`
    """
    from morex.cli.extension import read_experts, read_perturbations
    from morex.recipe.extend import extended, last_mixture
    from morex.run.continuation import recipe_of

    source = finished_run(run)
    before, new = recipe_of(source, trust_code=trust_code), read_perturbations(added or [])
    if not new:
        raise ValueError("name at least one perturbation, such as --with rain")
    recipe = extended(before, mixture or last_mixture(before), new, read_experts(expert or []))
    place = out or "-".join((beside(run), *new))
    _continue(source, before, recipe, all_overrides(overrides, data), place, device, jobs)


def shrink(
    run: RunPlace,
    overrides: Overrides = None,
    without: Removed = None,
    mixture: ShrunkMixture = None,
    out: ShrunkRun = None,
    data: DataFolder = None,
    device: Device = None,
    jobs: Jobs = None,
    trust_code: TrustCode = False,
) -> None:
    """Remove experts from a trained mixture, and briefly train its gate and last layers again.

    Everything that is already trained is kept. The new run has the old models and rows, and the
    smaller mixture.

    Example: `morex shrink runs/digits --without M2`
    """
    from morex.recipe.extend import last_mixture, shrunk
    from morex.run.continuation import recipe_of

    source = finished_run(run)
    before, gone = recipe_of(source, trust_code=trust_code), without or []
    if not gone:
        raise ValueError("name at least one expert, such as --without M2")
    recipe = shrunk(before, mixture or last_mixture(before), gone)
    place = out or "-without-".join((beside(run), *gone))
    _continue(source, before, recipe, all_overrides(overrides, data), place, device, jobs)


def beside(run: str) -> str:
    """Return the place of a run as the beginning of that of another one beside it."""
    if is_url(run):
        return run.rstrip("/")
    place = Path(run)  # which drops slashes at the end, and "."
    return str(place.resolve() if place.name in ("", "..") else place)


def _continue(
    source: Path,
    before: "Recipe",
    recipe: "Recipe",
    overrides: list[str],
    out: str,
    device: str | None,
    jobs: int | None,
) -> None:
    """Run a recipe that reuses the finished stages of ``source``, and show its results."""
    from morex.cli.extension import effects, training_cost, with_changes
    from morex.run.continuation import continue_run
    from morex.run.storage import working_folder

    recipe, folder = with_changes(recipe, overrides), working_folder(out)
    with observing(folder) as observer:
        continue_run(source, recipe, out, device=read_device(device), observer=observer, jobs=jobs)
    show_results(out, recipe, training_cost(folder, recipe, before))
    for line in effects(folder, recipe, before):
        say(line)
