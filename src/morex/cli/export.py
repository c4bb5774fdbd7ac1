"""``morex export``: a model as a file that runs without morex."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from morex.cli.options import (
    AnyModel,
    DataFolder,
    InputRange,
    Mean,
    OtherRecipe,
    Std,
    TrustCode,
    read_request,
)
from morex.cli.output import AsJson, lines_beside, print_json
from morex.core.units import percent

if TYPE_CHECKING:
    from morex.artifacts.statistics import Comparison
    from morex.cli.load_model import Opened
    from morex.deploy.export import Exported

_CHECKED, _CALIBRATED, _MEASURED = 64, 500, 500
"""How many images a file is checked, calibrated and measured on."""


def export(
    model: AnyModel,
    to: Annotated[
        Path, typer.Option(metavar="FILE", help="The file: .onnx, or .pt2 for torch.export.")
    ],
    pixels: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What the file takes: float for floats in [0, 1] of shape (N, C, H, W), or uint8 "
            "for bytes of shape (N, H, W, C), as cameras and Pillow give them.",
        ),
    ] = "float",
    precision: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="The number format of the weights: fp32, fp16, or int8, which is calibrated on "
            "validation images.",
        ),
    ] = "fp32",
    recipe: OtherRecipe = None,
    data: DataFolder = None,
    examples: Annotated[
        int,
        typer.Option(
            min=2,
            metavar="N",
            help="On how many test images fp16 and int8 are compared with float32.",
        ),
    ] = _MEASURED,
    input_range: InputRange = "0..1",
    mean: Mean = "",
    std: Std = "",
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Write a model to a file that answers without morex, after checking it on test images.

    The file takes any number of images. Its outputs are logits and probabilities; for a mixture
    also gate_weights, and for a sparse mixture routed_weights. Classes, image size, recipe and the
    checksum of the weights are in its metadata. If it does not answer as the model does, nothing is
    written. fp16 and int8 are also compared with float32 on clean and on attacked test images.

    Example: `morex export runs/digits/models/more-all --to model.onnx`
    """
    from morex.cli.load_model import open_for_evaluation
    from morex.deploy.export import check_target, export_model
    from morex.deploy.graph import Form
    from morex.models.named import open_model

    form = Form(pixels, precision)  # type: ignore[arg-type]  # it checks them
    check_target(to, form)
    pixels_of = {"input_range": input_range, "mean": mean, "std": std}
    request = read_request(
        model, recipe, data, None, 0, "cpu", None, trust_code=trust_code, **pixels_of
    )
    say = lines_beside(as_json)
    opened = open_for_evaluation(request, say)
    images = opened.builder.test_data
    exported = export_model(
        opened.network,
        to,
        images.pixels(slice(0, _CHECKED)),
        form=form,
        about=_about(opened, open_model(model, trust_code=trust_code).about),
        calibration=_calibration(opened) if precision == "int8" else None,
    )
    found = _described(exported, opened)
    say(found["line"])
    say(_check_line(exported, opened))
    if precision != "fp32":
        found["accuracy"] = _cost(opened, exported, examples, say)
    if as_json:
        print_json({key: value for key, value in found.items() if key != "line"})


def _about(opened: "Opened", saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a file."""
    images, recipe = opened.builder.test_data, opened.builder.recipe
    return {
        "name": saved.get("name", ""),
        "classes": list(images.classes),
        "image_size": list(images.shape[1:]),
        "recipe": _portable(saved.get("recipe") or recipe.of_evaluation()),
        "weights_sha256": opened.identity["weights"],
    }


def _portable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without the folder of its data: files go to other machines."""
    data = {key: value for key, value in recipe.get("data", {}).items() if key != "folder"}
    return {**recipe, "data": data}


def _calibration(opened: "Opened") -> Any:
    validation = opened.builder.training_data.validation
    return validation.first(_CALIBRATED).pixels(slice(None))


def _described(exported: "Exported", opened: "Opened") -> dict[str, Any]:
    form, size = exported.form, exported.size / 1e6
    channels, height, width = opened.builder.test_data.shape
    float_shape = f"floats (N, {channels}, {height}, {width}) in [0, 1]"
    takes = float_shape if form.pixels == "float" else f"bytes (N, {height}, {width}, {channels})"
    outputs = ", ".join(exported.outputs)
    return {
        "line": f"{exported.path}: {form.precision}, {size:.1f} MB; takes {takes}; gives {outputs}",
        "file": str(exported.path),
        "bytes": exported.size,
        "input": form.pixels,
        "precision": form.precision,
        "outputs": list(exported.outputs),
        "differences": dict(exported.difference.outputs),
        "agreement": exported.difference.agreement,
        "checked_on": exported.difference.n,
        "rerouted": exported.difference.rerouted,
    }


def _check_line(exported: "Exported", opened: "Opened") -> str:
    difference, data = exported.difference, opened.builder.data.name
    return (
        f"checked on {difference.n} test images of {data}: largest difference from PyTorch in "
        f"float32 {difference.largest:.2g}, the same class for {difference.agreement:.0%}"
        + (f"; {difference.rerouted} sent to other experts" if difference.rerouted else "")
    )


def _cost(opened: "Opened", exported: "Exported", examples: int, say: Any) -> dict[str, Any]:
    """Measure what a lower precision costs, and give it to ``say``."""
    from morex.deploy.accuracy import accuracy_cost

    builder = opened.builder
    images = builder.test_data.first(examples)
    found = accuracy_cost(opened.network, exported, images, builder.suite())
    precision = exported.form.precision
    for name, pair in found.items():
        transferred = " (found on the float32 model)" if name != "clean" else ""
        say(
            f"{name}{transferred}: {percent(pair.second)} in {precision}, "
            f"{percent(pair.first)} in fp32{_sure(pair)}"
        )
    return {name: pair.content() for name, pair in found.items()}


def _sure(pair: "Comparison") -> str:
    return f"; they differ on {pair.only_first + pair.only_second} of {pair.n} images"
