"""Which device to compute on, in which number format, and under which settings of PyTorch."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Literal

import torch
from torch import Tensor

from morex.core.near import hint

Precision = Literal["auto", "fp32", "bf16"]

ENVIRONMENT = "MOREX_DEVICE"

_DEVICES = ("cpu", "cuda", "mps")

_KINDS = ("matmul", "conv", "rnn")


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
        float(torch.zeros(1, device=name))  # the device "meta" makes tensors that cannot be read
        return torch.device(name)  # without the number of a GPU if none is given
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without CUDA
        raise ValueError(
            f"{given}: expected a device of this machine, such as cpu or cuda ({error})"
            + ("" if name in _DEVICES else hint(name, _DEVICES))
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
    """Keep products of float32 from being rounded to TF32 or bfloat16 inside a ``with`` block.

    By default cuDNN rounds in convolutions. ``torch.set_float32_matmul_precision`` and
    ``torch.backends`` allow it in matrix products too, on GPUs and on CPUs.
    """
    with ExitStack() as restore:
        with suppress(RuntimeError):  # the caller has used the newer interface
            _exact_by_older_interface(restore)
        for operation in _operations():
            before = getattr(operation, "fp32_precision", "none")  # since PyTorch 2.9
            if before not in ("ieee", "none"):
                restore.callback(setattr, operation, "fp32_precision", before)
                operation.fp32_precision = "ieee"
        yield


def _exact_by_older_interface(restore: ExitStack) -> None:
    """Switch rounding off for all matrix products, and for convolutions on GPUs.

    PyTorch refuses to read these settings where those of single operations contradict them. So they
    are set first, by the interface that most callers use.
    """
    cudnn, before = torch.backends.cudnn, torch.backends.cudnn.allow_tf32
    restore.callback(setattr, cudnn, "allow_tf32", before)
    cudnn.allow_tf32 = False  # flags() would switch off cuDNN itself as well
    if (precision := torch.get_float32_matmul_precision()) != "highest":
        restore.callback(torch.set_float32_matmul_precision, precision)
        torch.set_float32_matmul_precision("highest")


def _operations() -> list[Any]:
    """Return the settings of single operations."""
    backends = torch.backends
    owners = ((backends.cuda, ("matmul",)), (backends.cudnn, _KINDS), (backends.mkldnn, _KINDS))
    found = [getattr(owner, kind, None) for owner, kinds in owners for kind in kinds]
    return [operation for operation in found if operation is not None]


@contextmanager
def default_settings(device: torch.device) -> Iterator[None]:
    """Compute under PyTorch's default settings inside a ``with`` block.

    Gradients are on; autocast and ``torch.inference_mode`` are off; the default type is float32.
    If the caller has set a default device, it is ``device``. So results do not depend on where a
    function of morex is called. Threads and deterministic algorithms stay as the caller set them.

    Args:
        device: where the images are.
    """
    with ExitStack() as settings:
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        for kind in {"cpu", device.type}:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_dtype() != torch.float32:
            settings.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device() not in (torch.device("cpu"), device):
            settings.enter_context(device)
        yield


@contextmanager
def exact_settings(device: torch.device) -> Iterator[None]:
    """Enter ``default_settings`` and ``exact_float32``, for whatever judges a model."""
    with default_settings(device), exact_float32():
        yield


def ordinary(t: Tensor) -> Tensor:
    """Return ``t``, or a copy that autograd accepts if it was made in ``torch.inference_mode``."""
    if not t.is_inference():
        return t
    with torch.inference_mode(False):
        return t.clone()
