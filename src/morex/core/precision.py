"""Number formats: which device, and where bfloat16 pays."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def default_device() -> torch.device:
    """Return the first GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Say whether bfloat16 arithmetic is native on ``device``.

    On a CPU without AVX512-BF16 or AMX instructions it is emulated and about ten times slower
    than float32; with them it is about three times faster.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def resolved(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return ``precision``, with ``auto`` decided by what the device does natively."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return precision


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which passes run: bfloat16 autocast or plain float32."""
    enabled = resolved(precision, device) == "bf16"
    context: AbstractContextManager[None] = torch.autocast(
        device.type, torch.bfloat16, enabled=enabled
    )
    return context


@contextmanager
def exact_float32() -> Iterator[None]:
    """Let convolutions on a GPU not round float32 to TF32 for the length of a block."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False  # not by flags(), which switches off what it is not told, cuDNN too
    try:
        yield
    finally:
        cudnn.allow_tf32 = before
