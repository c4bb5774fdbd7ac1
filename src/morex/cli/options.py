"""The options that several commands share, and the objects that they stand for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

    from morex.cli.load_model import EvaluationRequest
    from morex.recipe import Recipe

SAVED_MODEL = (
    "A saved model: its folder, the name of a shipped one (`morex models`), "
    "hf://owner/name@revision/model on the Hugging Face hub (the newest revision and the default "
    "model if these are left out), robustbench://cifar10/Linf/NAME, or a model in a run at a URL, "
    "such as s3://bucket/runs/digits/models/clean"
)


def _recipe_names() -> list[str]:
    from morex.recipe import shipped_recipes

    return list(shipped_recipes())


RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="The name of a shipped recipe (`morex recipes`), or a YAML file.",
        autocompletion=_recipe_names,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, such as training.epochs=5."),
]
RunPlace = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run directory, or its URL, such as s3://bucket/runs/digits."
    ),
]
AnyModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"{SAVED_MODEL}; or any torch classifier, as "
        "path/to/net.py:factory or package.module:factory.",
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The folder with the data set; by default $MOREX_DATA, or a download if that is "
        "not set.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="PIXELS",
        help="Crop every picture to its central square, and resize that to this height and width; "
        "by default pictures are used as they are, and must all have one size.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The device to compute on, such as cpu, cuda or cuda:1; by default $MOREX_DEVICE, or "
        "the GPU if there is one.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="How many stages to run at a time; by default one on each GPU, and on a CPU its cores "
        "divided by the recipe's threads.",
    ),
]
OtherRecipe = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPE",
        help="The recipe whose data, perturbations and settings to use; by default the model's "
        "own.",
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="How many test images to use; by default as many as the recipe."
    ),
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="The seed of the attacks.")]
InputRange = Annotated[
    str,
    typer.Option(
        metavar="RANGE",
        help="For a torch classifier (path/to/net.py:factory): the pixel range that it expects, "
        "0..1, -1..1 or 0..255.",
    ),
]
Mean = Annotated[
    str,
    typer.Option(
        metavar="M,M,M",
        help="For a torch classifier: the mean of each channel to normalise its pixels with, such "
        "as 0.49,0.48,0.45.",
    ),
]
Std = Annotated[
    str,
    typer.Option(
        metavar="S,S,S",
        help="For a torch classifier: the standard deviation of each channel to normalise its "
        "pixels with, such as 0.25,0.24,0.26.",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run Python code that the files of the model or run name, such as a perturbation of "
        "your own. What morex wrote for you on this machine needs no option.",
    ),
]


def finished_run(run: str) -> Path:
    """Return the directory of a run; of one at a URL, a copy of all that is finished."""
    from morex.artifacts.manifest import without_work
    from morex.artifacts.stored_runs import local_run

    return local_run(run, without_work)


def read_recipe(
    name: str,
    overrides: list[str] | None,
    data: Path | None,
    image_size: int | None = None,
) -> "Recipe":
    """Return a recipe with its overrides, its data folder and the size of its images."""
    from morex.recipe import load_recipe

    resized = [f"data.image_size={image_size}"] if image_size is not None else []
    return load_recipe(name, [*all_overrides(overrides, data), *resized])


def all_overrides(overrides: list[str] | None, data: Path | None) -> list[str]:
    """Return the overrides of a recipe, with one for its data folder if ``data`` is given.

    The folder is absolute: a run is evaluated from other folders too.
    """
    if data is None:
        return [*(overrides or [])]
    folder = json.dumps(str(data.expanduser().resolve()), ensure_ascii=False)
    return [*(overrides or []), f"data.folder={folder}"]


def read_device(name: str | None) -> "torch.device":
    """Return the device of that name, or the default device if there is none.

    Raises:
        ValueError: if there is no such device here.
    """
    from morex.core.precision import default_device, device_of

    return device_of(name, f"--device {name}") if name is not None else default_device()


def read_numbers(option: str, text: str) -> tuple[float, ...]:
    """Return the numbers in a text such as ``0,0.5,1``; none if it is empty.

    Raises:
        ValueError: if a part is not a number; the message names the option.
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(
            f"{option} {text!r}: expected numbers separated by commas, such as 0,0.5,1"
        ) from None


def read_request(
    model: str,
    recipe: str | None,
    data: Path | None,
    examples: int | None,
    seed: int,
    device: str | None,
    out: Path | None,
    *,
    mean: str = "",
    std: str = "",
    **more: Any,
) -> "EvaluationRequest":
    """Return a request to evaluate a model, from the options of a command as they were typed."""
    from morex.cli.load_model import EvaluationRequest

    return EvaluationRequest(
        model,
        recipe=recipe,
        folder=data,
        examples=examples,
        seed=seed,
        device=read_device(device),
        out=out,
        mean=read_numbers("--mean", mean),
        std=read_numbers("--std", std),
        **more,
    )
