"""How a training step is executed: called, or captured once as a CUDA graph and replayed.

A step has two parts. The host's part draws the batch and sets the numbers that change from step to
step: the learning rate, the weight of the moving average, the step's number, the seed. The device's
part does the rest and never asks the host. On a CPU it is called. On a GPU its thousands of kernels
are launched faster by a graph than by Python: it is captured once for each of the objective's turns
and replayed on buffers that stay at their place.

Steps that cannot be captured, such as those of a network that asks the host, are called on a GPU as
well. The weights are never those of a half-done capture: whatever a trial changed is put back.
"""

import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from morex.models.compiled import in_short, uncompile
from morex.training.state import TrainingState
from morex.training.step import TrainingStep

Execute = Callable[[Tensor, Tensor, int, torch.Generator], None]
"""Takes a step: images, labels, the turn of the objective, and the generator."""

Run = Callable[[], None]

_WARM_UPS = 2
_MOST_GRAPHS = 32


class Recorder(ABC):
    """Records a function as a graph."""

    @abstractmethod
    def warm_up(self, run: Run) -> None:
        """Call a function as often as it takes until it does nothing for the first time.

        Raises:
            RuntimeError: if the function waits for the device, so that it cannot be recorded.
        """

    @abstractmethod
    def record(self, run: Run, generator: torch.Generator) -> Run:
        """Return a function that repeats what ``run`` does on the device, with new random draws.

        If it raises, functions that it returned before must not be used any more.
        """


class CudaGraphs(Recorder):
    """CUDA graphs that share their memory.

    Args:
        device: the GPU, which need not be the current one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, run: Run) -> None:
        """Call it on a side stream, the last time with an error if it waits."""
        with torch.cuda.device(self._device):  # else the side stream is one of another GPU
            self._warm_up(run)

    def _warm_up(self, run: Run) -> None:
        main = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(main)
        try:
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):  # compiles, times convolutions, makes what is made once
                    run()
                with waiting_is_an_error(), drawing_on_the_host_is_an_error():
                    run()
        finally:
            main.wait_stream(side)

    def record(self, run: Run, generator: torch.Generator) -> Run:
        """Capture it; a replay draws what the generator would draw next."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with (
            torch.cuda.device(self._device),  # else the stream is one of another GPU
            as_before_if_it_fails(generator),
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
        ):
            run()
        return graph.replay


@contextmanager
def as_before_if_it_fails(generator: torch.Generator) -> Iterator[None]:
    """Make a stream and generators usable again if a capture in a ``with`` block fails.

    PyTorch may leave the capture's stream as the current one, and generators that refuse to draw
    outside of a capture. Such a generator gets another state object, with the same seed and offset.
    """
    stream = torch.cuda.current_stream()
    try:
        yield
    except BaseException:
        torch.cuda.set_stream(stream)
        for one in (generator, torch.cuda.default_generators[stream.device_index]):
            other = torch.Generator(one.device)
            other.set_state(one.get_state())
            one.graphsafe_set_state(other)
        raise


class Captured:
    """Records the step at the first batch of each turn, and replays it from then on.

    Args:
        step: the device's part of a step.
        recorder: what records it.
        notice: receives one sentence if the step cannot be recorded, or only with networks that
            are not compiled. A step that cannot be recorded is called from then on.
    """

    def __init__(
        self, step: TrainingStep, recorder: Recorder, notice: Callable[[str], None]
    ) -> None:
        self._step, self._recorder, self._notice = step, recorder, notice
        self._replays: dict[int, Run] = {}
        self._batch: tuple[Tensor, Tensor] | None = None
        self._records = True

    def __call__(self, x: Tensor, y: Tensor, turn: int, generator: torch.Generator) -> None:
        """Take a step."""
        run = partial(self._step, *self._in_place(x, y), turn, generator)
        if self._records and turn not in self._replays:
            self._record(turn, run, generator)
            self._in_place(x, y)  # again: a network may change its images
        self._replays.get(turn, run)()

    def _in_place(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Copy a batch to the place from which graphs read it."""
        if self._batch is None:
            self._batch = torch.empty_like(x), torch.empty_like(y)
        for place, part in zip(self._batch, (x, y), strict=True):
            place.copy_(part)
        return self._batch

    def _record(self, turn: int, run: Run, generator: torch.Generator) -> None:
        """Add a replay, or decide that there will be no more of them."""
        failed = self._attempt(turn, run, generator)
        if failed and uncompile(self._step.model):
            first, failed = failed, self._attempt(turn, run, generator)
            if not failed:
                self._notice(f"the networks are not compiled, which takes longer: {first}")
        if failed:
            self._records = False
            self._notice(f"training steps are not captured, which takes longer: {failed}")

    def _attempt(self, turn: int, run: Run, generator: torch.Generator) -> str | None:
        """Record a turn of the step, changing nothing else; return why if that fails."""
        try:
            if len(self._replays) == _MOST_GRAPHS:
                raise RuntimeError(f"the objective has more than {_MOST_GRAPHS} turns")
            with put_back(self._step.state, generator):
                self._recorder.warm_up(run)
                # all replays are lost if this one fails: the generator's state is another one then
                known, self._replays = self._replays, {}
                self._replays = known | {turn: self._recorder.record(run, generator)}
        except Exception as error:
            return in_short(error)  # its traceback would keep the step's memory
        return None


@contextmanager
def put_back(state: TrainingState, generator: torch.Generator) -> Iterator[None]:
    """Undo at the end of a ``with`` block what steps inside it have changed, each at its place.

    The state of an optimizer that was made inside is filled with zeros, which means the same as
    none to SGD and AdamW.
    """
    before = {name: tensor.detach().clone() for name, tensor in state.changing().items()}
    drawn = generator.get_state()
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in state.changing().items():
                if name in before:
                    tensor.copy_(before[name])
                else:
                    tensor.zero_()
        state.optimizer.zero_grad(set_to_none=True)
        if state.natural:
            state.natural.optimizer.zero_grad(set_to_none=True)
        generator.set_state(drawn)


@contextmanager
def drawing_on_the_host_is_an_error() -> Iterator[None]:
    """Raise ``RuntimeError`` after a ``with`` block in which a generator of the host was used.

    A graph would repeat what was drawn when it was captured.
    """
    before = _host_generators()
    yield
    for one, other in zip(before, _host_generators(), strict=True):
        if one != other:
            raise RuntimeError("it draws random numbers on the host")


def _host_generators() -> tuple[Any, ...]:
    legacy: Any = np.random.get_state()
    return (
        random.getstate(),
        legacy[1].tobytes(),
        legacy[2],
        torch.get_rng_state().numpy().tobytes(),
    )


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Raise ``RuntimeError`` in a ``with`` block where the host waits for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that it is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def executed(
    step: TrainingStep, recorder: Recorder | None, notice: Callable[[str], None]
) -> Execute:
    """Return the step itself, or what records and replays it."""
    return Captured(step, recorder, notice) if recorder else step


def recorder_on(device: torch.device) -> Recorder | None:
    """Return what records the steps of a device; None if they are called."""
    return CudaGraphs(device) if device.type == "cuda" else None


@contextmanager
def fastest_convolutions(device: torch.device) -> Iterator[None]:
    """Let cuDNN time its algorithms for every shape, unless PyTorch is to be deterministic."""
    cudnn, before = torch.backends.cudnn, torch.backends.cudnn.benchmark
    if device.type == "cuda":
        cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        cudnn.benchmark = before
