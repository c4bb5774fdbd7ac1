"""Exports a model to a file that answers without morex, and checks that it answers the same."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import morex
from morex.core.files import write_atomically
from morex.core.precision import default_settings
from morex.deploy.errors import ExportError
from morex.deploy.graph import Form, Graph
from morex.deploy.program import as_onnx, as_pt2, require_onnx, traced
from morex.deploy.runtime import Runner, run_onnx, run_pt2
from morex.models.mixture import Ensemble

SUFFIXES = (".onnx", ".pt2")

CLOSE = 1e-4
"""The largest difference of a float32 file, relative to the largest logit if that is above 1."""

_NEAR = {"fp16": 0.05, "int8": 1.0}
"""The largest difference of a probability in other formats. In int8 the agreement decides."""

_ALONE = 4
"""How many images are also given one by one."""

_AGREES = 0.8
"""The least share of images to which a file has to give the model's class."""


@dataclass(frozen=True)
class Difference:
    """How far the answers of a file are from those of the model, on some images.

    A sparse mixture jumps where a weight crosses its threshold, or where two weights are equal.
    There the last bit decides, so images that are sent to other experts count only for
    ``gate_weights`` and for the agreement.

    Args:
        outputs: the largest absolute difference of each output, by name.
        largest_logit: the largest absolute logit of the model.
        agreement: the share of images to which both give the same class.
        n: the number of images.
        rerouted: how many of them are sent to other experts.
    """

    outputs: Mapping[str, float]
    largest_logit: float
    agreement: float
    n: int
    rerouted: int = 0

    @property
    def largest(self) -> float:
        """The largest of all differences; NaN if one is."""
        return _most(self.outputs.values())

    def problem(self, form: Form) -> str:
        """Return what is wrong with a file of this form; empty if it is close enough."""
        if math.isnan(self.largest):
            return "it answers with values that are not finite"
        if form.precision == "fp32":
            limit = CLOSE * max(1.0, self.largest_logit)
            return f"the largest difference is {self.largest:.2g}" if self.largest > limit else ""
        if self.agreement < _AGREES:
            return f"it gives another class to {1 - self.agreement:.0%} of the images"
        off = self.outputs["probabilities"]
        return f"a probability is off by {off:.2g}" if off > _NEAR[form.precision] else ""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Args:
        path: the file.
        form: what it takes, and its number format.
        outputs: the names of its outputs.
        difference: how far its answers are from those of the model.
        size: its size in bytes.
    """

    path: Path
    form: Form
    outputs: tuple[str, ...]
    difference: Difference
    size: int

    def runner(self) -> Runner:
        """Return a function that runs the file."""
        return _runner(self.path.suffix, self.path.read_bytes(), self.outputs)


def export_model(
    model: nn.Module,
    to: Path | str,
    images: Tensor,
    *,
    form: Form | None = None,
    about: Mapping[str, Any] | None = None,
    calibration: Tensor | None = None,
) -> Exported:
    """Write a model to ``to``, after checking it against ``model`` on ``images``.

    The suffix decides the format: ``.onnx``, or ``.pt2`` for ``torch.export``. The file takes any
    number of images and has the outputs ``logits`` and ``probabilities``; for a mixture also
    ``gate_weights``, and for a sparse one ``routed_weights``. It is written only if it is right.

    Args:
        model: a network or a mixture; it stays as it is.
        to: the file; an existing one is replaced.
        images: images (N, C, H, W) in [0, 1] for the check, at least two; real ones show more.
        form: what the file takes and its number format; by default floats in float32.
        about: JSON values to keep in the file's metadata, such as ``classes``.
        calibration: for int8, images (N, C, H, W) in [0, 1] that decide the ranges of activations;
            never test images.

    Raises:
        ImportError: if the extra ``export`` is missing.
        ExportError: if the suffix is unknown, the model cannot be exported, or the file does not
            answer as the model does.
    """
    path, form = Path(to), form or Form()
    check_target(path, form)
    if len(images) < 2:
        raise ExportError(f"expected at least two images for the check, got {len(images)}")
    with default_settings(torch.device("cpu")):
        graph = Graph(model, form)
        given = form.given(images.cpu())
        content = _content(graph, path.suffix, given, metadata(model, form, about or {}))
        if form.precision == "int8":
            content = _quantised(content, form, calibration)
        run = _runner(path.suffix, content, graph.outputs)
        difference = compared(Graph(model, Form(form.pixels)), run, given)
    if problem := difference.problem(form):
        raise ExportError(
            f"{path} was not written: on {difference.n} images {problem}, compared with PyTorch"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return Exported(path, form, graph.outputs, difference, len(content))


def check_target(path: Path, form: Form) -> None:
    """Raise unless a file of this name can have this form, and its libraries are installed."""
    if path.suffix not in SUFFIXES:
        raise ExportError(f"{path}: expected a file that ends in {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise ExportError(f"{path} is a folder; give the name of a file")
    if path.suffix == ".onnx":
        require_onnx()
    elif form.precision == "int8":
        raise ExportError(f"{path}: int8 needs ONNX; name a file that ends in .onnx")


def metadata(model: nn.Module, form: Form, about: Mapping[str, Any]) -> dict[str, str]:
    """Return what a file says about itself: texts, or JSON, by name."""
    facts: dict[str, Any] = {
        **about,
        "input": form.pixels,
        "precision": form.precision,
        "morex": morex.__version__,
    }
    if isinstance(model, Ensemble):
        facts["experts"] = model.expert_names
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}


def _content(graph: Graph, suffix: str, given: Tensor, about: Mapping[str, str]) -> bytes:
    program = traced(graph, given[:2])
    return as_pt2(program, about) if suffix == ".pt2" else as_onnx(program, graph.outputs, about)


def _quantised(content: bytes, form: Form, calibration: Tensor | None) -> bytes:
    from morex.deploy.quantised import in_int8

    if calibration is None or not len(calibration):
        raise ExportError("int8 needs images to calibrate with, such as the validation images")
    return in_int8(content, form.given(calibration.cpu()))


def _runner(suffix: str, content: bytes, outputs: tuple[str, ...]) -> Runner:
    return run_pt2(content, outputs) if suffix == ".pt2" else run_onnx(content)


@torch.no_grad()
def compared(graph: Graph, run: Runner, given: Tensor) -> Difference:
    """Return how far a file is from a graph, on images in a batch and one by one."""
    wanted: Mapping[str, Tensor] = dict(zip(graph.outputs, graph(given), strict=True))
    whole = run(given)
    few = [run(image) for image in given[:_ALONE].split(1)]  # type: ignore[no-untyped-call]
    alone = {name: torch.cat([found[name] for found in few]) for name in wanted}
    first = {name: t[:_ALONE] for name, t in wanted.items()}
    pairs = ((wanted, whole), (first, alone))
    same = wanted["logits"].argmax(1) == whole["logits"].argmax(1)
    return Difference(
        {name: _most(_largest(name, *pair) for pair in pairs) for name in wanted},
        largest_logit=float(wanted["logits"].abs().max()),
        agreement=float(same.double().mean()),
        n=len(given),
        rerouted=int(_rerouted(wanted, whole).sum()),
    )


def _largest(name: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """Return the largest absolute difference of an output; NaN if there is one."""
    difference = (wanted[name] - found[name]).abs()
    if name != "gate_weights":
        difference = difference[~_rerouted(wanted, found)]
    return float(difference.max()) if difference.numel() else 0.0


def _most(values: Iterable[float]) -> float:
    """Return the largest value, or NaN if there is one, which ``max`` may overlook."""
    return max(values, key=lambda value: (math.isnan(value), value))


def _rerouted(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Tensor:
    """Return which images are sent to other experts, (N,) of bool."""
    if "routed_weights" not in wanted:
        return torch.zeros(len(wanted["logits"]), dtype=torch.bool)
    asked, others = wanted["routed_weights"] > 0, found["routed_weights"] > 0
    return (asked != others).any(1)
