"""What a worker on a cluster needs, and for how many workers a cluster has room."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from morex.run.builder import Builder
from morex.run.estimates import largest_memory

_PROCESS = 600_000_000
"""Bytes that a process takes for Python and torch before it does anything."""


@dataclass(frozen=True)
class Needs:
    """What one worker needs.

    Attributes:
        cpus: CPUs.
        gpus: GPUs, or a share of one.
        memory: bytes of main memory.
    """

    cpus: float
    gpus: float
    memory: int

    def room(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """Return how many workers fit on machines with these resources, each on one of them."""
        return sum(self._on(node) for node in nodes)

    def _on(self, node: Mapping[str, float]) -> int:
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        fits = [node.get(name, 0) / need for name, need in wanted.items() if need]
        return math.floor(min(fits) + 1e-9)

    def __str__(self) -> str:
        """Return it in words."""
        gpus = f"{self.gpus:g} GPUs, " if self.gpus else ""
        return f"{self.cpus:g} CPUs, {gpus}{self.memory / 1e9:.1f} GB of memory"


def needs_of(builder: Builder, jobs: int | None, nodes: Iterable[Mapping[str, float]]) -> Needs:
    """Return what a worker needs that does any stage of a run.

    Args:
        builder: of the run.
        jobs: how many stages to do at a time; if there are more of them than GPUs, they share GPUs.
        nodes: the resources of each machine of the cluster.
    """
    cpus = builder.recipe.threads or torch.get_num_threads()
    data = builder.data
    pixels = 2 * (data.train.images.numel() + data.test.images.numel())  # as read, and as used
    if builder.device.type != "cuda":
        return Needs(cpus, 0, _PROCESS + pixels + largest_memory(builder))
    gpus = sum(node.get("GPU", 0) for node in nodes)
    share = 1 / math.ceil(jobs / gpus) if jobs and gpus else 1.0
    return Needs(builder.recipe.threads or 1, share, 2 * _PROCESS + pixels)
