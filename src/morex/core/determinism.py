"""The same bits from a GPU every time."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(wanted: bool, device: torch.device) -> Iterator[None]:
    """Let PyTorch compute the same bits every time inside a ``with`` block.

    A GPU adds numbers in an order that may differ from run to run, unless it is told not to. Enter
    the block before the process multiplies its first matrices on the GPU: cuBLAS reads its setting
    once. An operation that has no deterministic form raises ``RuntimeError``. On a CPU nothing
    changes: the same bits come out anyway.

    Args:
        wanted: whether to do so; otherwise the settings stay as they are.
        device: where the work is done.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    cudnn, filled = torch.backends.cudnn, torch.utils.deterministic
    with ExitStack() as restore:
        for owner, name, value in (
            (cudnn, "deterministic", True),
            (cudnn, "benchmark", False),  # it takes whatever convolution was faster this time
            (filled, "fill_uninitialized_memory", False),  # finds mistakes, and takes time
        ):
            restore.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        restore.callback(
            torch.use_deterministic_algorithms,
            torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        torch.use_deterministic_algorithms(True)
        if _WORKSPACE not in os.environ:
            os.environ[_WORKSPACE] = ":4096:8"
            restore.callback(os.environ.pop, _WORKSPACE, None)
        yield
