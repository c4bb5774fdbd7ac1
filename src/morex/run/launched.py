"""Processes that a launcher such as torchrun or srun has started, and how they exchange messages.

Tensors go through ``torch.distributed``. Messages are small and lie in its key-value store, where
they are looked for now and then: so a process can wait for hours, and a signal reaches it.
"""

import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from morex.run.directory import RunError
from morex.run.failures import Failure
from morex.training import World

_PAUSE = 0.05
"""Seconds between two looks for a message."""

_GOODBYE = 5.0
"""Seconds that the first process waits for the others at the end: it may hold the store."""

_MEET = timedelta(minutes=10)
_ANSWER = timedelta(hours=1)
"""How long processes wait for each other: at the start, and while one writes a checkpoint."""


@dataclass(frozen=True)
class Place:
    """The place of this process among those that were started together.

    Attributes:
        rank: its number.
        size: the number of all processes.
        local_rank: its number on its machine, which is that of its GPU.
    """

    rank: int
    size: int
    local_rank: int

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> "Place | None":
        """Return the place that a launcher has written into variables; None without one.

        torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; srun sets variables of its own, and counts
        only if MASTER_ADDR is set, since the tasks of a job may be separate runs.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if "RANK" not in variables:
            names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        if "MASTER_ADDR" not in variables or not all(name in variables for name in names):
            return None
        rank, size, local = (int(variables[name]) for name in names)
        return cls(rank, size, local) if size > 1 else None

    def device(self, chosen: torch.device) -> torch.device:
        """Return the device of this process: ``cuda`` stands for a GPU for each of them."""
        if str(chosen) != "cuda":
            return chosen
        return torch.device("cuda", self.local_rank % max(1, torch.cuda.device_count()))


class Group:
    """The processes that were started together.

    Args:
        world: which of them this is.
        store: holds their messages.
    """

    def __init__(self, world: World, store: Store) -> None:
        self.world, self._store = world, store

    def put(self, name: str, message: Any) -> None:
        """Leave a message for the others."""
        self._store.set(name, pickle.dumps(message))  # type: ignore[arg-type]

    def find(self, name: str) -> Any:
        """Return a message; None if nobody has left it."""
        return pickle.loads(self._store.get(name)) if self._store.check([name]) else None

    def wait(self, name: str, given_up: Callable[[], bool], seconds: float | None = None) -> Any:
        """Return a message once it is there; None once ``given_up``, or after some seconds."""
        started = time.monotonic()
        while (message := self.find(name)) is None and not given_up():
            if seconds is not None and time.monotonic() - started > seconds:
                return None
            time.sleep(_PAUSE)
        return message

    def ended(self) -> bool:
        """Return whether the first process has ended the run, or the store is gone with it."""
        try:
            return self.find("end") is not None
        except RuntimeError:
            return True

    def failure(self) -> Failure | None:
        """Return why one of the other processes has ended, if it said so."""
        found: Failure | None = self.find("failure")
        return found

    def leave(self) -> None:
        """Leave ``torch.distributed``; processes that wait for this one get an error."""
        if dist.is_initialized():
            with suppress(RuntimeError):
                dist.destroy_process_group()

    def end(self) -> None:
        """End the run for all processes, and wait until the others have heard of it."""
        self.put("end", True)
        self.leave()
        for rank in range(1, self.world.size):
            self.wait(f"left/{rank}", lambda: False, _GOODBYE)


@contextmanager
def joined(place: Place, device: torch.device, store: Store | None = None) -> Iterator[Group]:
    """Join the other processes for the length of a ``with`` block.

    Args:
        place: that of this process.
        device: where it computes.
        store: holds messages; by default that of the launcher.

    Raises:
        RunError: if they do not come.
    """
    os.environ.update(RANK=str(place.rank), WORLD_SIZE=str(place.size))
    os.environ.setdefault("MASTER_PORT", "29500")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        if store is None:
            store, _, _ = next(rendezvous("env://", timeout=_MEET))
        dist.init_process_group(
            backend,
            store=PrefixStore("tensors", store),
            rank=place.rank,
            world_size=place.size,
            timeout=_ANSWER,
        )
    except (RuntimeError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RunError(
            f"process {place.rank} of {place.size} did not find the others at {where} ({error}); "
            "start all of them with torchrun, or with srun and the same MASTER_ADDR"
        ) from None
    group = Group(World(place.rank, place.size), PrefixStore("messages", store))
    try:
        yield group
    finally:
        if group.world.leads:
            group.end()
        group.leave()
