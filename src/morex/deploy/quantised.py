"""ONNX models in int8, by static quantisation: ranges of activations come from images."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from morex.deploy.graph import INPUT
from morex.deploy.program import with_metadata
from morex.deploy.quiet import quiet


def in_int8(content: bytes, calibration: Tensor, batch: int = 50) -> bytes:
    """Return an ONNX model whose convolutions and linear layers compute with int8.

    Weights have a scale for each channel. Inputs and outputs stay float32.

    Args:
        content: the model in float32.
        calibration: images in the form that it takes; never test images.
        batch: how many of them it gets at a time.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, quiet():
        source, result = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(content)
        quantize_static(
            source,
            result,
            _reader(calibration, batch),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": False},
        )
        made = onnx.load(result)
    return with_metadata(
        made, {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
    )


def _reader(images: Tensor, batch: int) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Images(CalibrationDataReader):  # type: ignore[misc]
        """Gives the images batch by batch."""

        def __init__(self) -> None:
            self.left: Iterator[Tensor] = iter(images.split(batch))  # type: ignore[no-untyped-call]

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch; None after the last."""
            part = next(self.left, None)
            return None if part is None else {INPUT: part.numpy()}

    return Images()
