"""Runs exported files, to see whether they answer as the model does."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from morex.deploy.graph import INPUT
from morex.deploy.quiet import quiet

Runner = Callable[[Tensor], Mapping[str, Tensor]]
"""Images in the form that a file takes to its outputs, by name."""


def run_onnx(content: bytes) -> Runner:
    """Return a function that runs an ONNX model on the CPU."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 4  # only what is fatal
    options.intra_op_num_threads = torch.get_num_threads()
    with quiet():
        session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> Mapping[str, Tensor]:
        found = session.run(names, {INPUT: images.numpy()})
        return dict(zip(names, map(torch.from_numpy, found), strict=True))

    return run


def run_pt2(content: bytes, names: tuple[str, ...]) -> Runner:
    """Return a function that runs a program of ``torch.export``."""
    with quiet():
        program: Any = torch.export.load(io.BytesIO(content)).module()

    def run(images: Tensor) -> Mapping[str, Tensor]:
        with torch.no_grad():
            return dict(zip(names, program(images), strict=True))

    return run
