"""The cores of a machine, and how many threads torch computes with.

Several threads pay only if each has enough to do between two operations: they wait for one another
after every one of them. Where other programs want the cores too, they wait for long, and a small
network trains ten times slower with two threads than with one.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import nn

WORK_OF_A_THREAD = 1e9
"""A thread pays from about this many multiplications per forward pass of a batch."""

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_PIXELS_PER_USE = 20
"""In a ResNet a weight is used about once for every 20 pixels of the image (measured: 14 to 20)."""

_chosen = ContextVar("threads were chosen", default=False)


def cores() -> int:
    """Return how many cores this process may use, given its affinity and its container's quota."""
    return max(1, min(_available(), _quota(Path("/sys/fs/cgroup"))))


def _available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    """Let torch use ``count`` threads for the length of a block; None changes nothing.

    A count is a choice, which ``threads_for`` respects.
    """
    token = _chosen.set(_chosen.get() or count is not None)
    try:
        with _computing_with(count or torch.get_num_threads()):
            yield
    finally:
        _chosen.reset(token)


@contextmanager
def threads_for(model: object, images: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Let torch use no more threads than a model pays for, for the length of a block.

    The number depends on the size of the model and its batches, never on a measurement, so it is
    the same in every run. A number that somebody chose stays: with ``threads``, with
    OMP_NUM_THREADS or MKL_NUM_THREADS, or with ``torch.set_num_threads``, unless that is the number
    that torch would have chosen. On a GPU and for a model without parameters nothing changes.

    Args:
        model: the model of the block.
        images: the shape of its batches, (N, C, H, W).
        device: where it computes.
    """
    now = torch.get_num_threads()
    work = forward_work(model, images)
    if device.type != "cpu" or not work or _is_chosen(now):
        yield
        return
    with _computing_with(max(1, min(now, cores(), int(work / WORK_OF_A_THREAD)))):
        yield


def forward_work(model: object, images: tuple[int, ...]) -> float:
    """Return about how many multiplications a forward pass takes; 0 for what has no parameters."""
    weights = sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else 0
    n, _, height, width = images
    return weights * n * max(1.0, height * width / _PIXELS_PER_USE)


def _is_chosen(now: int) -> bool:
    """Return whether somebody chose the number of threads: it is not one that torch chooses."""
    if _chosen.get() or any(os.environ.get(name) for name in _VARIABLES):
        return True
    return now not in (_available(), torch.get_num_interop_threads())  # logical, physical cores


@contextmanager
def _computing_with(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
