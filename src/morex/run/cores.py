"""How a run shares the cores of a machine: threads of torch, and stages at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from morex.recipe import Recipe


def default_jobs(recipe: Recipe, device: torch.device) -> int:
    """Return how many stages to do at a time.

    As many as there are cores for the recipe's ``threads``; one if it sets none, or on a GPU.
    """
    if recipe.threads is None or device.type != "cpu":
        return 1
    return max(1, cores() // recipe.threads)


def cores() -> int:
    """Return how many cores this process may use, as far as the system says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` threads in this process for a while; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
