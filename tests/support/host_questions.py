"""Counts the operations that would make the host wait for an accelerator, on a CPU."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from morex.core.asking import as_on_an_accelerator

_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2"}
"""Operations whose result, or its shape, the host must know."""

_COPYING = ("tolist", "cpu", "numpy")
"""Methods that copy to the host; on a CPU they are no operations."""


class _Counting(TorchDispatchMode):
    def __init__(self, questions: Counter[str]) -> None:
        super().__init__()
        self.questions = questions

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in _WAITING or (name.startswith("index") and _has_mask(args)):
            self.questions[name] += 1
        return func(*args, **(kwargs or {}))


def _has_mask(args: tuple[Any, ...]) -> bool:
    """Return whether an indexing operation has an index of booleans."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(i, Tensor) and i.dtype == torch.bool for i in indices)


@contextmanager
def host_questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Yield the questions that are asked inside a ``with`` block, by operation."""
    questions: Counter[str] = Counter()
    with monkeypatch.context() as patch, as_on_an_accelerator(), _Counting(questions):
        for name in _COPYING:
            method = getattr(Tensor, name)

            def counted(
                self: Tensor, *args: Any, name: str = name, method: Any = method, **options: Any
            ) -> Any:
                questions[name] += 1
                return method(self, *args, **options)

            patch.setattr(Tensor, name, counted)
        yield questions
