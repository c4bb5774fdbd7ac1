"""The cores of a machine: how many stages to do at a time, and threads per stage."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from morex.recipe import Recipe


def default_jobs(recipe: Recipe, device: torch.device) -> int:
    """Return how many stages to do at a time.

    This is the number of cores divided by the recipe's ``threads``; one if the recipe sets none,
    or on a GPU.
    """
    if recipe.threads is None or device.type != "cpu":
        return 1
    return max(1, cores() // recipe.threads)


def cores() -> int:
    """Return how many cores this process may use, given its affinity and its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        available = len(os.sched_getaffinity(0))
    else:
        available = os.cpu_count() or 1
    return max(1, min(available, _quota(Path("/sys/fs/cgroup"))))


def _quota(group: Path) -> int:
    """Return the cores that a Linux control group allows; a very large number without a limit."""
    try:
        quota, period = (group / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            quota = (group / "cpu/cpu.cfs_quota_us").read_text()
            period = (group / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return sys.maxsize
    return int(quota) // int(period) if quota.strip().isdigit() else sys.maxsize


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` threads for the length of a block; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
