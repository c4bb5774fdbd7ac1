"""One training on two processes of one thread against one process of two threads."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from benchmarks.measuring import Measurement, ratio
from benchmarks.networks import images, resnet18
from morex import TrainingConfig, TrainingData, train
from morex.attacks import PGD
from morex.core.threads import threads
from morex.data import ImageSet
from morex.perturbations import Linf
from morex.training import Single, World
from morex.training.world import ALONE

_BATCH, _STEPS, _WIDTH = 64, 1, 16


def measure() -> Iterator[Measurement]:
    """Compare steps of PGD training. On busy cores the first ratio means nothing."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    store = Path(tempfile.mkdtemp()) / "store"
    processes = [
        context.Process(target=_serve, args=(rank, store, pipes[rank][1]), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()

    spent = list[float]()

    def together() -> None:
        for ours, _ in pipes:
            ours.send("train")
        spent.append(sum(ours.recv() for ours, _ in pipes))

    def alone() -> None:
        _train(ALONE, 2)

    value, about = ratio(alone, together, rounds=2)
    started = time.process_time()
    _train(ALONE, 1)
    least = time.process_time() - started
    about |= {"width": _WIDTH, "batch": _BATCH, "batches": _STEPS}
    for process in processes:
        process.kill()
    yield Measurement("throughput of two processes / of two threads", value, about=about)
    more = min(spent) / least
    yield Measurement("CPU time of two processes / of one with one thread", more)


def _serve(rank: int, store: Path, connection: Connection) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    shared = FileStore(str(store), 2)
    dist.init_process_group("gloo", store=shared, rank=rank, world_size=2)
    while connection.recv():
        started = time.process_time()
        _train(World.current(), 1)
        connection.send(time.process_time() - started)


def _train(world: World, count: int) -> None:
    x, y = images(_BATCH * _STEPS + 1)
    whole = ImageSet((x * 255).round().byte(), y, tuple("0123456789"))
    first, last = whole.take(torch.arange(_BATCH * _STEPS)), whole.take(torch.tensor([-1]))
    config = TrainingConfig(epochs=1, batch_size=_BATCH, precision="fp32", validate_every=None)
    objective = Single((PGD(Linf(8 / 255), steps=2),))
    with threads(count):
        train(resnet18(_WIDTH), objective, TrainingData(first, last), config, world=world)
