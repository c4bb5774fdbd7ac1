"""The commands. They parse, call the library, and print; everything else is elsewhere.

What needs PyTorch is imported inside the commands, so that help and tables start at once.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    import torch

    from morex.cli.load_model import EvaluationRequest
    from morex.recipe import Recipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train, evaluate and use Mixtures of Robust Experts: image classifiers that stand up to "
    "a union of perturbations (lp attacks, fog, snow) and still do well on clean images.",
)

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped recipe (`morex recipes`) or a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it, such as training.epochs=5."),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(help="A folder with the data set; by default $MOREX_DATA, else a download."),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Stages at a time; by default what the recipe's threads allow."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
_MODEL = (
    "A saved model's folder, the name of a shipped one (`morex models`), or hf://owner/name on the "
    "Hugging Face hub."
)


def main() -> None:
    """Run the command line; mistakes of the user end in one message and exit code 2."""
    app()


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Turn the errors that a user can do something about into one message, without a traceback."""
    try:
        yield
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if type(error) is RuntimeError or not str(error):
            raise  # of torch, or a mistake of ours
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho("\ninterrupted; the same command goes on from here", fg="yellow", err=True)
        raise typer.Exit(130) from None


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="The run directory; by default runs/NAME-OF-RECIPE.")
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(help="A further suite: autoattack, adaptive, ...; may be given repeatedly."),
    ] = None,
    suite_examples: Annotated[
        int | None, typer.Option(min=1, help="On how many test images further suites are done.")
    ] = None,
    data: DataFolder = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default the GPU.")] = None,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds between two checkpoints of a training.")
    ] = 30.0,
    jobs: Jobs = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files to RUN/events while training.")
    ] = False,
) -> None:
    """Train and evaluate everything in a recipe, print its Table 1, and write its report page.

    Finished stages are not done again. It may be killed at any moment: the same command goes on
    where it was and ends with the same bits.

    Example: `morex run digits seed=1 training.epochs=20 --out runs/digits-1`
    """
    with _told_plainly():
        from morex.cli.progress_lines import progress_printer
        from morex.cli.report import reporting
        from morex.cli.tensorboard import with_event_files
        from morex.core.units import duration
        from morex.run import run as do_run

        further = [f"evaluation.suites.{s}={_use(suite_examples)}" for s in suite or ()]
        loaded = _recipe(recipe, [*(overrides or []), *further], data)
        folder = out or Path("runs") / loaded.name
        started = time.monotonic()
        events = folder / "events" if tensorboard else None
        to_stderr = Console(stderr=True)
        with reporting(folder, to_stderr.print), progress_printer(to_stderr) as observer:
            do_run(
                loaded,
                folder,
                device=_device(device),
                observer=with_event_files(observer, events),
                checkpoint_every=checkpoint_every,
                jobs=jobs,
            )
        _show(folder, loaded, f"done in {duration(time.monotonic() - started)}")


@app.command()
def plan(recipe: RecipeName, overrides: Overrides = None, data: DataFolder = None) -> None:
    """Show a recipe's stages, their size, and what they will take on this machine.

    Nothing is trained: every kind of model is timed on a few batches. Times of evaluations are
    upper bounds, since attacks end early where they succeed.

    Example: `morex plan cifar10 network.width=16`
    """
    with _told_plainly():
        from morex.cli.plan import plan_table
        from morex.core.precision import default_device
        from morex.run import default_jobs, estimate

        loaded = _recipe(recipe, overrides, data)
        device = default_device()
        shown = plan_table(estimate(loaded, device), device, default_jobs(loaded, device))
        width = None if sys.stdout.isatty() else 100
        Console(width=width, highlight=False).print(shown)


@app.command()
def extend(
    run: RunFolder,
    overrides: Overrides = None,
    added: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="A perturbation: a kind, file.py:Class, or 'name: {kind: rain, drops: 100}'; may "
            "be given repeatedly.",
        ),
    ] = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(
            help="An expert that is trained already: rain=FOLDER, rain=NAME of a shipped model, or "
            "rain=package.module:factory for any torch classifier."
        ),
    ] = None,
    mixture: Annotated[
        str | None,
        typer.Option(help="The mixture to extend; by default the last column that is one."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The new run directory; by default RUN-rain, for example.")
    ] = None,
    data: DataFolder = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default the GPU.")] = None,
    jobs: Jobs = None,
) -> None:
    """Add perturbations to a trained mixture: an expert for each, and a gate that knows them too.

    Everything that is trained already is kept. The new run has the old models and rows, the new
    experts, the extended mixture, and rows for the new perturbations.

    Example: `morex extend runs/digits --with rain models.Mrain.training.epochs=5`
    """
    with _told_plainly():
        from morex.cli.extend import perturbations, trained
        from morex.recipe.extend import extended, last_mixture
        from morex.run.continuation import recipe_of

        before, new = recipe_of(run), perturbations(added or [])
        if not new:
            raise ValueError("name at least one perturbation, such as --with rain")
        recipe = extended(before, mixture or last_mixture(before), new, trained(expert or []))
        folder = out or run.with_name("-".join((run.name, *new)))
        _go_on(run, before, recipe, overrides, folder, data, device, jobs)


@app.command()
def shrink(
    run: RunFolder,
    overrides: Overrides = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="An expert to take out of the mixture; may be given repeatedly."),
    ] = None,
    mixture: Annotated[str | None, typer.Option(help="As of extend.")] = None,
    out: Annotated[Path | None, typer.Option(help="As of extend.")] = None,
    data: DataFolder = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default the GPU.")] = None,
    jobs: Jobs = None,
) -> None:
    """Take experts out of a trained mixture; gate and last layers are adapted shortly.

    Example: `morex shrink runs/digits --without Msnow`
    """
    with _told_plainly():
        from morex.recipe.extend import last_mixture, shrunk
        from morex.run.continuation import recipe_of

        before, gone = recipe_of(run), without or []
        if not gone:
            raise ValueError("name at least one expert, such as --without Msnow")
        recipe = shrunk(before, mixture or last_mixture(before), gone)
        folder = out or run.with_name("-without-".join((run.name, *gone)))
        _go_on(run, before, recipe, overrides, folder, data, device, jobs)


def _go_on(
    source: Path,
    before: "Recipe",
    recipe: "Recipe",
    overrides: list[str] | None,
    out: Path,
    data: Path | None,
    device: str | None,
    jobs: int | None,
) -> None:
    """Do a recipe that goes on from the run ``source``, and show what came of it."""
    from morex.cli.extend import changed, cost
    from morex.cli.progress_lines import progress_printer
    from morex.cli.report import reporting
    from morex.run.continuation import go_on_from

    recipe = changed(recipe, [*(overrides or []), *_folder(data)])
    to_stderr = Console(stderr=True)
    with reporting(out, to_stderr.print), progress_printer(to_stderr) as observer:
        go_on_from(source, recipe, out, device=_device(device), observer=observer, jobs=jobs)
    _show(out, recipe, cost(out, recipe, before))


def _show(out: Path, recipe: "Recipe", done: str) -> None:
    """Print the tables of a finished run, how it went, and where to find its results and page."""
    from morex.cli.report import report_pages

    for suite in ("", *recipe.evaluation.suites):
        _print_table(out, "text", suite)
    typer.echo(f"{done}; results are in {out}; show them again with: morex table {out}")
    typer.echo(f"report: {report_pages([out], show=False)}")


@app.command()
def recipes() -> None:
    """List the recipes that ship with morex.

    Example: `morex recipes`
    """
    from morex.recipe import shipped_recipes

    shipped = shipped_recipes()
    longest = max(map(len, shipped))
    for name, description in shipped.items():
        typer.echo(f"{name:{longest}}  {description}")


@app.command()
def models() -> None:
    """List the trained models that ship with morex, as `--model` and `morex.load` take them.

    Example: `morex models`
    """
    from morex.artifacts.model_sets import shipped_sets

    for name, found in shipped_sets().items():
        typer.echo(f"{name}: {found.description}")
        for model in found.models:
            stands_for = f"  (also: {name})" if model == found.default else ""
            typer.echo(f"  {name}/{model}{stands_for}")


@app.command()
def table(
    run: RunFolder,
    format: Annotated[str, typer.Option(help="text, markdown, csv or json.")] = "text",
    suite: Annotated[
        str, typer.Option(help="One of the run's further suites, instead of Table 1.")
    ] = "",
) -> None:
    """Print a run's Table 1: every model under every attack, their union and mean.

    The paper's figures stand beside it where the setting is the paper's.

    Example: `morex table runs/digits --format json`
    """
    with _told_plainly():
        _print_table(run, format, suite)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories; several are compared.")
    ],
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write a run's report page, report.html in its directory: one file, for any browser.

    A run that is not finished gets a page of what there is so far. Several runs get a page that
    compares them, comparison.html in the current folder. Audits that lie in RUN/audits are shown.

    Example: `morex report runs/digits --open`
    """
    with _told_plainly():
        from morex.cli.report import report_pages

        typer.echo(f"report: {report_pages(runs, show=show)}")


@app.command()
def gate(
    run: RunFolder,
    model: Annotated[
        str | None, typer.Option(help="A mixture of the run; by default the last one.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Write the heat map to this file as well.")
    ] = None,
) -> None:
    """Show how a mixture's gate weights its experts under every perturbation.

    Example: `morex gate runs/digits --svg gate.svg`
    """
    with _told_plainly():
        from morex.cli.gate import show_gate

        typer.echo(show_gate(run, model, svg))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    recipe: Annotated[
        str | None, typer.Option(help="A recipe whose data and suite to use; else the model's own.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="table1, quick, autoattack, adaptive, or a YAML file; else the recipe's."
        ),
    ] = None,
    corrupted: Annotated[
        Path | None,
        typer.Option(
            help="Use the published corruptions in this folder (CIFAR-10-C) instead of a suite."
        ),
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option(min=1, max=5, help="One of their severities; may be repeated. Else all."),
    ] = None,
    data: DataFolder = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Attack so many test images at most.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attacks.")] = 0,
    input_range: Annotated[
        str, typer.Option(help="Pixels that a foreign classifier wants: 0..1, -1..1 or 0..255.")
    ] = "0..1",
    mean: Annotated[str, typer.Option(help="Its normalisation, per channel: 0.49,0.48,0.45.")] = "",
    std: Annotated[str, typer.Option(help="The same for the standard deviation.")] = "",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default the GPU.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the outcomes (.npz) here, and what they rest on (.json) beside."),
    ] = None,
) -> None:
    """Attack a model with a suite and print its accuracies.

    MODEL is a saved model's folder, a shipped name, `hf://owner/name` on the Hugging Face hub, or
    `package.module:factory` for any torch classifier. With `--out` a killed evaluation goes on
    where it was. `--corrupted` reads the published files of CIFAR-10-C: one row per corruption and
    severity, on the same test images.

    Example: `morex evaluate runs/digits/models/more-all --suite adaptive --examples 100`
    """
    with _told_plainly():
        from morex.cli.evaluate import evaluate_saved

        request = _request(
            model,
            recipe=recipe,
            suite=suite,
            corrupted=corrupted,
            **({"severities": tuple(dict.fromkeys(severity))} if severity else {}),
            folder=data,
            examples=examples,
            seed=seed,
            device=device,
            out=out,
            input_range=input_range,
            mean=mean,
            std=std,
        )
        evaluate_saved(request, _say())


@app.command()
def curve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    perturbation: Annotated[str, typer.Argument(help="A perturbation of the model's recipe.")],
    factors: Annotated[
        str, typer.Option(help="Factors on its strength.")
    ] = "0,0.25,0.5,0.75,1,1.25,1.5,2",
    recipe: Annotated[
        str | None, typer.Option(help="A recipe to use instead of the model's own.")
    ] = None,
    data: DataFolder = None,
    examples: Annotated[int | None, typer.Option(min=1, help="As of evaluate.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attacks.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default the GPU.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the points here, as JSON.")] = None,
) -> None:
    """Show how accuracy falls with the strength of a perturbation.

    Example: `morex curve runs/digits/models/more-all linf --examples 100`
    """
    with _told_plainly():
        from morex.cli.curve import curve as points

        request = _request(
            model,
            recipe=recipe,
            folder=data,
            examples=examples,
            seed=seed,
            device=device,
            out=out,
        )
        points(request, perturbation, _numbers(factors), _say())


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="OUTCOMES", help="An outcomes file (.npz).")],
    second: Annotated[
        Path, typer.Argument(metavar="OUTCOMES", help="That of another model on the same images.")
    ],
) -> None:
    """Compare two models example by example, with a paired test.

    Outcomes are in a run's `outcomes` folder, or what `morex evaluate --out` wrote.

    Example: `morex compare runs/digits/outcomes/more-all.npz runs/digits/outcomes/avg-all.npz`
    """
    with _told_plainly():
        from morex.cli.compare import compare as lines

        for line in lines(first, second):
            typer.echo(line)


@app.command()
def audit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    recipe: Annotated[
        str | None, typer.Option(help="A recipe whose data and balls to use; else the model's own.")
    ] = None,
    data: DataFolder = None,
    examples: Annotated[int, typer.Option(min=1, help="Use so many test images.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Steps of PGD.")] = 20,
    queries: Annotated[
        int, typer.Option(min=1, help="Queries per image of attacks without gradients.")
    ] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attacks.")] = 0,
    input_range: Annotated[str, typer.Option(help="As of evaluate.")] = "0..1",
    mean: Annotated[str, typer.Option(help="As of evaluate.")] = "",
    std: Annotated[str, typer.Option(help="As of evaluate.")] = "",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default the GPU.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the findings here, as JSON; the report shows those in RUN/audits."
        ),
    ] = None,
) -> None:
    """Say whether a model is robust or only hides its gradients: seven points, each measured.

    Exit code 1 if a point is flagged.

    Example: `morex audit runs/digits/models/more-all`
    """
    with _told_plainly():
        from morex.cli.audit import audit_saved

        request = _request(
            model,
            recipe=recipe,
            folder=data,
            examples=examples,
            seed=seed,
            device=device,
            out=out,
            input_range=input_range,
            mean=mean,
            std=std,
        )
        findings = audit_saved(request, steps=steps, queries=queries, say=_say())
    if any(finding.verdict == "flag" for finding in findings):
        raise typer.Exit(1)


@app.command()
def predict(
    model: Annotated[str, typer.Option(help=_MODEL)],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="Picture files, of any size.")
    ],
    page: Annotated[
        Path | None, typer.Option("--report", help="Write a page about them to this file.")
    ] = None,
) -> None:
    """Say what is in pictures: the class, its probability, and for a mixture the gate's weights.

    Pictures are resized to the model's image size.

    Example: `morex predict --model cifar10-small picture.png`
    """
    with _told_plainly():
        from morex.cli.predict import predict_pictures

        for line in predict_pictures(model, pictures, page):
            typer.echo(line)


def _request(
    model: str, *, device: str | None, mean: str = "", std: str = "", **options: Any
) -> "EvaluationRequest":
    from morex.cli.load_model import EvaluationRequest

    return EvaluationRequest(
        model, device=_device(device), mean=_numbers(mean), std=_numbers(std), **options
    )


def _say() -> Callable[[str], None]:
    return Console(highlight=False, soft_wrap=True).print


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part.strip())


def _recipe(name: str, overrides: list[str] | None, data: Path | None) -> "Recipe":
    from morex.recipe import load_recipe

    return load_recipe(name, [*(overrides or []), *_folder(data)])


def _folder(data: Path | None) -> list[str]:
    return [f"data.folder={json.dumps(str(data))}"] if data else []


def _device(name: str | None) -> "torch.device":
    import torch

    from morex.core.precision import default_device

    if not name:
        return default_device()
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter is how a CPU build says it
        raise ValueError(f"--device {name}: {error}") from None


def _use(examples: int | None) -> str:
    return json.dumps({"examples": examples})


def _print_table(folder: Path, format: str, suite: str = "") -> None:
    from morex.report import FORMATS, make_table, read_results, to_text

    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; known are {', '.join(FORMATS)}")
    content = make_table(read_results(folder, suite))
    if format == "text" and sys.stdout.isatty():
        text = to_text(content, width=Console().width, styled=True)
    else:
        text = FORMATS[format](content)
    typer.echo(text, nl=not text.endswith("\n"))
