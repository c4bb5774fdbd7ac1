"""A model as the content of a file: ONNX, or a program of ``torch.export``."""

import io
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from morex.deploy.errors import ExportError
from morex.deploy.graph import INPUT, Graph
from morex.deploy.quiet import quiet

ABOUT = "morex.json"
"""The name of the metadata in a file of ``torch.export``."""


def require_onnx() -> None:
    """Raise ``ImportError``, with the line to type, unless the extra ``export`` is installed."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(
                f"export to ONNX needs {name}: pip install 'morex[export]'"
            ) from error


def traced(graph: Graph, example: Tensor) -> Any:
    """Return the program of a graph, for any number of images.

    Args:
        graph: what to export.
        example: at least two images, in the form that the graph takes.

    Raises:
        ExportError: if PyTorch cannot follow the model.
    """
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    try:
        with quiet(), torch.no_grad():
            return _without_traces(torch.export.export(graph, (example,), dynamic_shapes=shapes))
    except Exception as error:  # whatever the model or PyTorch raises
        raise ExportError(
            f"torch.export cannot follow this model ({type(error).__name__}: {_first(error)}); "
            "its answers may not depend on Python's view of the values or on the batch size"
        ) from error


def _without_traces(program: Any) -> Any:
    """Forget where in the source code each operation comes from: files go to other machines."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _first(error: Exception) -> str:
    """Return the first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")


def as_pt2(program: Any, about: Mapping[str, str]) -> bytes:
    """Return the content of a ``.pt2`` file; ``torch.export.load`` reads it."""
    file = io.BytesIO()
    with quiet():
        torch.export.save(program, file, extra_files={ABOUT: json.dumps(dict(about))})
    return file.getvalue()


def as_onnx(program: Any, outputs: tuple[str, ...], about: Mapping[str, str]) -> bytes:
    """Return the content of an ``.onnx`` file, with everything in it.

    Raises:
        ExportError: if a part of the model has no counterpart in ONNX, or 2 GB are not enough.
    """
    try:
        with quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[*outputs],
                external_data=False,
                verbose=False,
            )
        assert made
        return with_metadata(made.model_proto, about)
    except Exception as error:
        raise ExportError(
            f"this model cannot be written as ONNX ({type(error).__name__}: {_first(error)})"
        ) from error


def with_metadata(proto: Any, about: Mapping[str, str]) -> bytes:
    """Return an ONNX model as bytes, with metadata, and ``batch`` as the name of its first axis."""
    from onnx import checker

    del proto.metadata_props[:]
    _strip(proto.graph)
    for key, value in about.items():
        proto.metadata_props.add(key=key, value=value)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    return content


def _strip(graph: Any) -> None:
    """Remove what is not needed to run a graph: shapes, and traces of the source code."""
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for attribute in (found for node in graph.node for found in node.attribute):
        if attribute.HasField("g"):
            _strip(attribute.g)
