"""Notices operations for which the host waits, on a CPU as on a GPU."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default,  # .item(), bool(), if
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,  # the size of the result must be known
    aten.masked_select.default,
    aten.lift_fresh.default,  # a tensor made of Python numbers, which is then copied
}
ON_THE_HOST = {"_scale_to_radius", "_single_tensor_adam"}
"""A question that is only asked on a CPU; and the step counts of Adam, which stay on the host."""


class Watch(TorchDispatchMode):
    """Notes where an operation is called that waits for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in WAITS or _indexes_by_booleans(func, args):
            stack = traceback.extract_stack()
            if not ON_THE_HOST & {frame.name for frame in stack}:
                ours = [f"{f.name}:{f.lineno}" for f in stack if "/morex/" in f.filename]
                self.found.append(f"{func} in {ours[-1:]}")
        return func(*args, **(kwargs or {}))


def _indexes_by_booleans(func, args) -> bool:
    if func not in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        return False
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


@contextmanager
def watched() -> Iterator[Watch]:
    """Note every operation in a block that waits, and every copy to the host."""
    with Watch() as watch, pytest.MonkeyPatch.context() as patch:
        for name in ("cpu", "numpy", "tolist", "pin_memory"):  # on a CPU no operation is called
            patch.setattr(Tensor, name, _noting(getattr(Tensor, name), name, watch))
        yield watch


def _noting(method: Any, name: str, watch: Watch) -> Any:
    def noted(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        stack = traceback.extract_stack()
        watch.found += [f"{name} in {f.name}:{f.lineno}" for f in stack if "/morex/" in f.filename]
        return method(self, *args, **kwargs)

    return noted
