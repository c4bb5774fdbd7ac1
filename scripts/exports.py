"""Export every shipped model, and write how far the files are from PyTorch.

    python scripts/exports.py cifar10-small=FOLDER tiny-imagenet-small=FOLDER

Each argument is a set of shipped models and the folder with its data set. Every model is exported
in float32, and checked on 64 test images. The default mixture of a set is also exported in fp16 and
int8, calibrated on validation images, and compared with float32 on test images. It writes
``results/exports/``; models that are there with the same weights are not exported again.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from morex.artifacts.model_sets import shipped_sets
from morex.cli.load_model import EvaluationRequest, open_for_evaluation
from morex.core.threads import threads
from morex.deploy.accuracy import accuracy_cost
from morex.deploy.export import export_model
from morex.deploy.graph import Form
from morex.models.named import FromFolder
from morex.run import Builder
from morex.run.provenance import provenance

HOME = Path(__file__).parents[1] / "results" / "exports"
CPU = torch.device("cpu")
CHECKED, CALIBRATED, MEASURED = 64, 500, 200
COMMAND = "scripts/exports.py cifar10-small=FOLDER tiny-imagenet-small=FOLDER"


def main() -> None:
    """Export what is not known yet, and write both files."""
    path = HOME / "exports.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    places = dict(argument.split("=", 1) for argument in sys.argv[1:])
    builders = {name: opened(name, Path(folder)) for name, folder in places.items()}
    for name, model, precision in work([*places]):
        key, weights = f"{model} {precision}", FromFolder(model).digest
        if found.get(key, {}).get("weights") != weights:
            found[key] = {"weights": weights, **exported(builders[name], model, precision)}
            print(key, found[key]["differences"], flush=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
    (HOME / "README.md").write_text(markdown(found))


def work(sets: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the set, model and format of every file, float32 first."""
    shipped = shipped_sets()
    for name in sets:
        yield from ((name, f"{name}/{model}", "fp32") for model in shipped[name].models)
    for name in sets:
        default = f"{name}/{shipped[name].default}"
        yield from ((name, default, precision) for precision in ("fp16", "int8"))


def opened(name: str, folder: Path) -> Builder:
    """Return the data and attacks of a set."""
    request = EvaluationRequest(name, folder=folder, device=CPU)
    return open_for_evaluation(request, print).builder


def exported(builder: Builder, name: str, precision: Any) -> dict[str, Any]:
    """Export a model and return what is known of the file."""
    model, form = FromFolder(name).load(), Form("float", precision)
    images = builder.test_data.pixels(slice(0, CHECKED))
    few = builder.training_data.validation.first(CALIBRATED).pixels(slice(None))
    with tempfile.TemporaryDirectory() as folder, threads(1):
        made = export_model(
            model,
            Path(folder, "model.onnx"),
            images,
            form=form,
            calibration=few,
        )
        found: dict[str, Any] = {
            "megabytes": round(made.size / 1e6, 2),
            "differences": dict(made.difference.outputs),
            "largest logit": round(made.difference.largest_logit, 2),
            "agreement": made.difference.agreement,
            "n": made.difference.n,
            "provenance": provenance(CPU).content() | {"command": COMMAND},
        }
        if precision != "fp32":
            test = builder.test_data.first(MEASURED)
            cost = accuracy_cost(model.eval(), made, test, builder.suite())
            found["accuracy"] = {row: pair.content() for row, pair in cost.items()}
    return found


def markdown(found: dict[str, Any]) -> str:
    """Return the tables."""
    lines = ["# Exported models", ""]
    lines += ["Every shipped model in ONNX, checked in ONNX Runtime on 64 test images, in a batch"]
    lines += ["and one by one. The largest absolute differences from PyTorch in float32:", ""]
    lines += ["| model | format | MB | logits | probabilities | gate weights | same class |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for key, its in found.items():
        model, _, precision = key.rpartition(" ")
        differences = [its["differences"].get(name) for name in OUTPUTS]
        cells = [model, precision, f"{its['megabytes']:.1f}"]
        cells += ["" if value is None else f"{value:.1e}" for value in differences]
        lines += ["| " + " | ".join([*cells, f"{its['agreement']:.0%}"]) + " |"]
    if not any("accuracy" in its for its in found.values()):
        return "\n".join(lines) + "\n"
    lines += ["", "What the formats cost. int8 is calibrated on 500 validation images. Attacked"]
    lines += ["images are found by PGD (20 steps) on the model in float32 and given to both: for"]
    lines += ["the file they are transferred, and an attacker who knows it may find more.", ""]
    lines += ["| model | format | test images | fp32 | file | differ | n |"]
    lines += ["| --- | --- | --- | ---: | ---: | ---: | ---: |"]
    for key, its in found.items():
        model, _, precision = key.rpartition(" ")
        for row, pair in its.get("accuracy", {}).items():
            cells = [f"{100 * pair['first']:.1f}", f"{100 * pair['second']:.1f}"]
            cells += [str(pair["only_first"] + pair["only_second"]), str(pair["n"])]
            lines += ["| " + " | ".join([model, precision, row, *cells]) + " |"]
    return "\n".join(lines) + "\n"


OUTPUTS = ("logits", "probabilities", "gate_weights")


if __name__ == "__main__":
    main()
