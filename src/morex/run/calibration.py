"""How fast a model is on this machine, and how much memory its passes take."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from morex.attacks import frozen
from morex.core.precision import Precision, autocast
from morex.models.compiled import compiled
from morex.run.builder import Builder
from morex.training.batches import channels_last

Way = Literal["called", "captured", "compiled"]
"""How passes are executed: called from Python, captured in a CUDA graph, or compiled as well."""

_LONG_ENOUGH = 0.2
"""A backward pass of this many seconds is timed well enough; more images do not help."""

_ENOUGH_IN_ALL = 1.0
"""Repeats end after this many seconds."""


@dataclass(frozen=True)
class Speed:
    """Seconds and bytes per image.

    ``forward`` and ``backward`` are the passes of attacks. ``update`` is both passes in training,
    with gradients of the weights. ``attack_bytes`` and ``update_bytes`` are what a forward pass
    keeps for the backward pass.
    """

    forward: float
    backward: float
    update: float
    attack_bytes: float
    update_bytes: float

    @classmethod
    def together(cls, experts: Sequence["Speed"], gates: Sequence["Speed"]) -> "Speed":
        """Return the speed of an ensemble, in whose training only the gate needs gradients."""
        every = (*experts, *gates)
        return cls(
            sum(speed.forward for speed in every),
            sum(speed.backward for speed in every),
            sum(expert.forward for expert in experts) + sum(gate.update for gate in gates),
            sum(speed.attack_bytes for speed in every),
            sum(gate.update_bytes for gate in gates),
        )


def calibrate(
    builder: Builder, model: nn.Module, batch: int, precision: Precision, way: Way = "called"
) -> Speed:
    """Time a model in attacks and in training, on few images if it is slow.

    The number of images is doubled until it reaches a batch, or a backward pass takes long enough
    to be timed well: a whole batch of a large model may need more memory than planning should take.
    Passes that are captured on a GPU get whole batches, because each shape is compiled.
    """
    device, images = builder.device, builder.training_data.train
    held = held_bytes(builder, model, precision)
    seconds = partial(_seconds, device=device, way=way)
    with autocast(precision, device), _compiled(model, way):
        with frozen(model):
            x = channels_last(images.pixels(slice(0, 2 if way == "called" else batch)))
            while (together := seconds(partial(_backward, model, x))) < _LONG_ENOUGH:
                size = min(2 * len(x), batch, len(images))
                if size <= len(x):
                    break
                x = channels_last(images.pixels(slice(0, size)))
            alone = seconds(partial(_forward, model, x))
        model.train()
        update = seconds(partial(_update, model, x))
    backward = max(together - alone, 0.0)
    n = len(x)
    return Speed(alone / n, backward / n, update / n, *held)


def _compiled(model: nn.Module, way: Way) -> AbstractContextManager[object]:
    return compiled(model, lambda _: None) if way == "compiled" else nullcontext()


def held_bytes(builder: Builder, model: nn.Module, precision: Precision) -> tuple[float, float]:
    """Return what a forward pass of an image keeps for the backward pass, in attack and update."""
    images = builder.training_data.train
    few, more = (channels_last(images.pixels(slice(0, n))) for n in (2, 4))
    with autocast(precision, builder.device):
        with frozen(model):
            attack = (_held(model, more) - _held(model, few)) / 2
        model.train()
        return attack, (_held(model, more) - _held(model, few)) / 2


def _forward(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def _backward(model: nn.Module, x: Tensor) -> None:
    moved = x.detach().requires_grad_()
    torch.autograd.grad(model(moved).float().sum(), moved)


def _update(model: nn.Module, x: Tensor) -> None:
    logits = model(x)
    if logits.requires_grad:
        logits.float().sum().backward()
        model.zero_grad()


def _held(model: nn.Module, x: Tensor) -> int:
    """Return the bytes that a forward pass keeps for the backward pass."""
    held = 0

    def hold(tensor: Tensor) -> Tensor:
        nonlocal held
        held += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        model(x.detach().requires_grad_())
    return held


def _captured(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return a replay of some work on a GPU, which need not be the current one."""
    main = torch.cuda.current_stream(device)
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(main)
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    main.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph, stream=side):
        work()
    return graph.replay


def _seconds(
    work: Callable[[], None], device: torch.device, repeats: int = 3, way: Way = "called"
) -> float:
    """Return the shortest time of a few repeats; the first one, a warm-up, does not count.

    One thread on a CPU is timed by the seconds that it computed, so that other programs on the
    machine do not count.
    """
    work = work if way == "called" else _captured(work, device)
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    times = list[float]()
    while len(times) < 2 or (len(times) <= repeats and sum(times) < _ENOUGH_IN_ALL):
        started = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - started)
    return min(times[1:])
