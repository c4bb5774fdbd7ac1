"""Questions about the values of tensors, such as "is any of them negative?".

On a CPU they are free, and a search can end early. On an accelerator the host waits for all work
that is under way, which costs more than such a search saves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FREE: ContextVar[bool] = ContextVar("questions are free on a CPU", default=True)


def asking_is_free(device: "torch.device") -> bool:
    """Return whether a question about values on a device costs nothing."""
    return device.type == "cpu" and _FREE.get()


@contextmanager
def as_on_an_accelerator() -> Iterator[None]:
    """Ask on a CPU only what is asked on an accelerator, inside a ``with`` block; for tests."""
    token = _FREE.set(False)
    try:
        yield
    finally:
        _FREE.reset(token)
