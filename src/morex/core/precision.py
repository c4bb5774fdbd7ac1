"""Which device to compute on, and in which number format."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


ENVIRONMENT = "MOREX_DEVICE"


def default_device() -> torch.device:
    """Return the device to use if none is given.

    It is the one that the environment variable MOREX_DEVICE names, such as ``cpu`` or ``cuda:1``.
    If that is not set, it is the first GPU, or the CPU on a machine without one.

    Raises:
        ValueError: if MOREX_DEVICE names no device of this machine.
    """
    if name := os.environ.get(ENVIRONMENT):
        return device_of(name, f"{ENVIRONMENT}={name}")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(name: str, given: str) -> torch.device:
    """Return the device of a name, such as ``cpu`` or ``cuda:1``.

    Args:
        name: its name.
        given: how the error refers to it, for example ``--device cuda:1``.

    Raises:
        ValueError: if this machine has no such device.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without CUDA
        raise ValueError(
            f"{given}: expected a device of this machine, such as cpu or cuda ({error})"
        ) from None


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether ``device`` has instructions for bfloat16.

    On a CPU without AVX512-BF16 or AMX it is emulated and about ten times slower than float32; with
    them it is about three times faster.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def resolved(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return ``precision``; ``auto`` becomes bf16 where it is fast, otherwise fp32."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return precision


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the context for forward passes: bfloat16 autocast, or plain float32."""
    enabled = resolved(precision, device) == "bf16"
    context: AbstractContextManager[None] = torch.autocast(
        device.type, torch.bfloat16, enabled=enabled
    )
    return context


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep convolutions on a GPU from rounding float32 to TF32 inside a ``with`` block."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False  # flags() would switch off cuDNN itself as well
    try:
        yield
    finally:
        cudnn.allow_tf32 = before
