"""Two processes that check something together, started once for many checks."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from morex.training.world import World

Check = Callable[[World], Any]
"""What each process does; the value of the first process is returned."""


def in_two_processes(checks: Mapping[str, Check], folder: Path) -> dict[str, Any]:
    """Return what the checks find in the first of two processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "morex.training"])  # once, not in both
    ours, theirs = context.Pipe()
    processes = [
        context.Process(target=_serve, args=(rank, folder / "store", dict(checks), theirs))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    theirs.close()
    try:
        found: dict[str, Any] = pickle.loads(ours.recv_bytes())
    finally:
        for process in processes:
            process.join(60)
            process.kill()
    return found


def _serve(rank: int, store: Path, checks: dict[str, Check], connection: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    shared = dist.FileStore(str(store), 2)
    dist.init_process_group("gloo", store=shared, rank=rank, world_size=2)
    found = {name: check(World.current()) for name, check in checks.items()}
    if rank == 0:
        connection.send_bytes(pickle.dumps(found))  # as copies, not as shared memory
    dist.barrier()
    dist.destroy_process_group()
