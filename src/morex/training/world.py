"""Several processes that train one model together, each on its shard of every batch.

    grad L(batch) = sum_r  n_r / N  grad L(shard r)        for a loss that is a mean over images

Every process has the whole data and the same weights. It draws the whole batch, perturbs n_r of its
N images, and scales its loss by n_r / N. One all-reduce adds up the gradients, and all processes
take the same step of the optimizer. In between, only BatchNorm and what a criterion counts over the
batch communicate (``batch_norm``, ``fair_count``).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from morex.core.shards import Shard
from morex.core.stopping import asked_to_stop


class World:
    """The processes of a training, of which this one is one.

    They are those of the default group of ``torch.distributed``, if there are several. For tensors
    on GPUs it needs the backend ``cpu:gloo,cuda:nccl``: what is not a tensor goes through CPUs.

    Args:
        rank: the number of this process, from 0.
        size: the number of all processes.

    Attributes:
        stopping: whether any process was asked to stop by a signal before the last ``join``.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.stopping = False

    @classmethod
    def current(cls) -> "World":
        """Return the default group of ``torch.distributed``; this process alone without one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return self.size > 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def rows(self, images: int) -> range:
        """Return which rows of a batch this process has; the first processes have one more."""
        each, more = divmod(images, self.size)
        first = self.rank * each + min(self.rank, more)
        return range(first, first + each + (self.rank < more))

    def shard(self, images: int) -> Shard | None:
        """Return the shard of a batch that this process has; None if it has the whole batch."""
        return Shard(self.rows(images), images) if self.several else None

    def part(self, batch: Tensor) -> Tensor:
        """Return the rows of a batch that this process has."""
        if not self.several:
            return batch
        rows = self.rows(len(batch))
        return batch[rows.start : rows.stop]

    def weighted(self, loss: Tensor, images: int) -> Tensor:
        """Return the share that this process has in the loss of a batch, given that of its rows."""
        return loss * (len(self.rows(images)) / images) if self.several else loss

    def add_up(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace each tensor by its sum over all processes, all of them in one all-reduce."""
        given = [t for t in tensors if t is not None]
        if not self.several or not given:
            return
        with torch.no_grad():
            bucket = torch.cat([t.detach().flatten() for t in given])
            dist.all_reduce(bucket)
            parts = bucket.split([t.numel() for t in given])  # type: ignore[no-untyped-call]
            for tensor, part in zip(given, parts, strict=True):
                tensor.detach().copy_(part.view(tensor.shape))

    def join(self, parameters: Sequence[nn.Parameter], loss: Tensor, counts: Tensor) -> Tensor:
        """Add up gradients, losses and counts over all processes, and whether any is to stop.

        Args:
            parameters: have gradients, which are replaced by their sums.
            loss: the share of this process in the loss.
            counts: whole numbers below 2^24, replaced by their sums.

        Returns:
            The sum of the losses.
        """
        if not self.several:
            return loss
        total, stop = loss.clone(), torch.full_like(loss, float(asked_to_stop()))
        self.add_up([*(p.grad for p in parameters), total, counts, stop])
        self.stopping = bool(stop)  # the one number for which the host waits
        return total

    def from_leader(self, value: Any) -> Any:
        """Return the value that the first process has; the others give anything."""
        if not self.several:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def from_all(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        values = [value] * self.size
        if self.several:
            dist.all_gather_object(values, value)
        return values


ALONE = World()
"""A single process."""

_WORLD: ContextVar[World] = ContextVar("world", default=ALONE)


@contextmanager
def among(world: World) -> Iterator[None]:
    """Within the block, ``fair_count`` counts over the processes of a world."""
    token = _WORLD.set(world)
    try:
        yield
    finally:
        _WORLD.reset(token)


def fair_count(count: Tensor, images: int) -> Tensor:
    """Return what a sum over some images is to be divided by, so that shares give the whole mean.

    This is m * n_r / N for m such images in the whole batch: the processes' sums, divided by it and
    weighted by n_r / N, add up to the mean over all m. In a single process it is ``count``. Without
    any image, m is 1.

    Args:
        count: how many images there are in the shard of this process, a scalar.
        images: n_r, all images of the shard.
    """
    world = _WORLD.get()
    if not world.several:
        return count.clamp(min=1)
    both = torch.stack([count.float(), torch.full_like(count, images, dtype=torch.float32)])
    world.add_up([both])
    return both[0].clamp(min=1) * images / both[1]
