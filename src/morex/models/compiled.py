"""The networks of a model, compiled in place for a while.

``torch.compile`` turns a network into a few fused kernels. It pays on a GPU, and only in work that
is long enough: the first compilation of a shape takes tens of seconds. The compiled code is kept in
a folder of the user, so later processes read it instead.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morex.core.precision import default_settings
from morex.core.threads import forward_work
from morex.models.mixture import Ensemble
from morex.models.network import Network, NetworkConfig

PAYS_FROM = 1e15
"""Compiling pays from about this many floating-point operations.

On an H200 a captured step of a ResNet-18 of width 64 ran at 133 TFLOP/s, and at 282 if it was
compiled as well: 1e15 operations save 4 s. In a network of a quarter of that width they save more,
since it spends most of its time between convolutions. Compiling takes up to 46 s, but only once for
a shape: later processes read the code in a few seconds, and several trainings of a run use it.
"""

_OF_A_MIXTURE = 10

_COMPILED: set[tuple[NetworkConfig, tuple[int, ...], torch.device]] = set()
"""The networks, batches and devices for which this process has code."""

_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_VARIANTS = 128
"""How many variants of a network are compiled before torch gives up: shapes, modes, and which
weights learn. It gives up after 8 by default, and then runs the network uncompiled."""


@contextmanager
def compiled(
    model: nn.Module, notice: Callable[[str], None], *, backend: str = "inductor"
) -> Iterator[bool]:
    """Compile the networks of a model for the length of a ``with`` block.

    The model stays the same object, with the same classes and weights. Networks of the same shape
    share their code, which is compiled when a batch of a new shape arrives. Networks of timm, and
    classifiers that morex did not make, run as they are.

    Args:
        model: the model, which may be a mixture.
        notice: receives one sentence if the networks cannot be compiled; they then run as they are.
        backend: that of ``torch.compile``.

    Yields:
        Whether networks are compiled.
    """
    networks = _networks(model, compiled=False)
    with _settings() as settings:
        if networks and (why := _obstacle(_device(networks[0]), backend)):
            notice(f"the networks are not compiled, which takes longer: {why}")
            networks = []
        for network in networks:
            # what nn.Module.compile sets; copies and saved models are without it
            settings.callback(setattr, network, "_compiled_call_impl", None)
            network.compile(dynamic=False, backend=backend)
        yield bool(networks)


@contextmanager
def compiled_if_it_pays(
    model: nn.Module, images: tuple[int, ...], passes: float, notice: Callable[[str], None]
) -> Iterator[None]:
    """Compile the networks of a model in a ``with`` block if ``compiling_pays``.

    They are compiled for shorter work too if this process has compiled networks of their shapes,
    because it has the code. They are not compiled where PyTorch is to be deterministic: the
    compiler times several ways to add up numbers and takes the fastest.
    """
    networks = _networks(model, compiled=False)
    shapes = {(network.config, images, _device(network)) for network in networks}
    pays = compiling_pays(model, images, passes) or (bool(shapes) and shapes <= _COMPILED)
    if pays and not torch.are_deterministic_algorithms_enabled():
        with compiled(model, notice) as done:
            _COMPILED.update(shapes if done else ())
            yield
    else:
        yield


def uncompile(model: nn.Module) -> bool:
    """Run the networks of a model as they are from now on; return whether any was compiled."""
    found = _networks(model, compiled=True)
    for network in found:
        network._compiled_call_impl = None
    return bool(found)


@contextmanager
def compiling_nothing(model: nn.Module) -> Iterator[None]:
    """Use the code that is compiled in a ``with`` block, and compile none for new shapes."""
    if _networks(model, compiled=True):
        with torch.compiler.set_stance("eager_on_recompile"):
            yield
    else:
        yield


def compiling_pays(model: nn.Module, images: tuple[int, ...], passes: float) -> bool:
    """Return whether compiling the networks of a model saves more time than it takes.

    It never does on a CPU, where compiled networks of this kind are no faster.

    Args:
        model: the model, on its device.
        images: the shape of a batch, (N, C, H, W).
        passes: about how many passes of a batch, forwards and backwards, there will be.
    """
    networks = _networks(model, compiled=False)
    on_gpu = bool(networks) and _device(networks[0]).type == "cuda"
    return on_gpu and is_long_enough(model, images, passes)


def is_long_enough(model: nn.Module, images: tuple[int, ...], passes: float) -> bool:
    """Return whether some work is so long that compiling pays on a GPU; arguments as above.

    The code of a single network serves many trainings. Batches of a mixture have shapes that no
    other training has, in its experts and in its gate, so its work must be ten times as long.
    """
    least = PAYS_FROM * (_OF_A_MIXTURE if isinstance(model, Ensemble) else 1)
    return 2 * forward_work(model, images) * passes >= least


def in_short(error: Exception) -> str:
    """Return the kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _networks(model: nn.Module, *, compiled: bool) -> list[Network]:
    """Return the networks of a model that are compiled, or those that are not."""
    networks = (m for m in model.modules() if isinstance(m, Network) and m.compiles)
    return [network for network in networks if bool(network._compiled_call_impl) == compiled]


def _device(network: Network) -> torch.device:
    return network.mean.device


@contextmanager
def _settings() -> Iterator[ExitStack]:
    """Allow many variants, keep compiled code in the user's folder, and survive single failures."""
    with ExitStack() as restore:
        # the name of the limit that all versions of torch know
        limits: dict[str, Any] = {
            "cache_size_limit": _VARIANTS,
            "accumulated_cache_size_limit": 8 * _VARIANTS,
        }
        restore.enter_context(torch._dynamo.config.patch(limits | {"suppress_errors": True}))
        if _CACHE not in os.environ:
            os.environ[_CACHE] = str(_cache_folder())
            restore.callback(os.environ.pop, _CACHE, None)
        yield restore


def _cache_folder() -> Path:
    """Return where compiled code is kept: it outlives the process, unlike files in /tmp."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "morex" / "compiled"


@lru_cache
def _obstacle(device: torch.device, backend: str) -> str | None:
    """Return why nothing can be compiled for a device; None if a tiny network can be."""
    with torch.random.fork_rng(devices=[]):
        tiny = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).to(device)
    try:
        with default_settings(device), torch._dynamo.config.patch(suppress_errors=False):
            run = torch.compile(tiny, dynamic=False, backend=backend)
            run(torch.zeros(2, 3, 8, 8, device=device)).sum().backward()
    except Exception as error:  # no compiler, no triton, no headers of Python, ...
        cause = getattr(error, "inner_exception", error)  # of BackendCompilerFailed
        return in_short(cause)
    return None
