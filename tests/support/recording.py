"""Stands for the CUDA graphs of a GPU on a CPU."""

import struct
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from watching import watched

from morex.training.execution import Recorder, Run, drawing_on_the_host_is_an_error
from morex.training.loop import Training


class Trace(TorchDispatchMode):
    """Writes down every operation with the shapes of its tensors and with its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        parts = [_written(part) for part in tree_leaves((args, kwargs or {}))]
        self.lines.append(f"{func}({', '.join(parts)})")
        return func(*args, **(kwargs or {}))


def _written(part: Any) -> str:
    if isinstance(part, Tensor):
        return f"{part.dtype}{[*part.shape]}"
    if isinstance(part, torch.Generator):  # another wrapper of it in every call
        return "a generator"
    return struct.pack("d", part).hex() if isinstance(part, float) else str(part)


class StandIn(Recorder):
    """Repeats a function by calling it again, where a graph could have repeated it.

    A graph repeats the same operations with the same numbers, at the same places in memory. Where
    the function does something else than when it was recorded, this raises ``AssertionError``.
    """

    def __init__(self) -> None:
        self.recorded, self.replayed = 0, 0
        self.places: Callable[[], dict[str, int]] = dict

    def warm_up(self, run: Run) -> None:
        run()
        with drawing_on_the_host_is_an_error(), watched() as watch:
            run()
        if watch.found:
            raise RuntimeError(f"it waits: {watch.found[0]}")

    def record(self, run: Run, generator: torch.Generator) -> Run:
        self.recorded += 1
        places = self.places()
        with Trace() as recorded:
            run()

        def replay() -> None:
            self.replayed += 1
            with Trace() as repeated:
                run()
            pairs = zip_longest(repeated.lines, recorded.lines)
            if other := next((pair for pair in pairs if pair[0] != pair[1]), None):
                raise AssertionError(f"{other[0]} instead of {other[1]}")
            assert self.places() == places

        return replay


class Refusing(Recorder):
    """Records nothing, so that the steps are called."""

    def warm_up(self, run: Run) -> None:
        raise RuntimeError("not here")

    def record(self, run: Run, generator: torch.Generator) -> Run:
        raise AssertionError("it was not warmed up")


def followed(work: Training, recorder: StandIn) -> Training:
    """Let a stand-in see the places of everything that the steps of a training change."""
    changing = work.state.changing
    recorder.places = lambda: {name: t.data_ptr() for name, t in changing().items()}
    return work
