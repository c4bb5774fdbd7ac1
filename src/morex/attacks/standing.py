"""Which examples of a batch a search still works on, and when the others leave it.

On a CPU a fooled example leaves at once. On an accelerator that would be slow: the question which
ones are left waits for the device in every step, and each batch would have a shape that the device
has not seen before. There, fooled examples stay where they are until the batch can be halved.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from morex.core.asking import asking_is_free


class Leaving(ABC):
    """When examples that are over, because they are fooled, leave a batch."""

    @abstractmethod
    def kept(self, over: Tensor, step: int) -> Tensor | None:
        """Return the positions that stay, all that stand among them; None if all stay.

        Args:
            over: which examples are over, (n,) of bool.
            step: how many steps were made.
        """

    @abstractmethod
    def put(self, into: Tensor, rows: Tensor, where: Tensor, values: Tensor) -> None:
        """Write values (n, ...) to the rows of a tensor (N, ...), but only ``where``, (n,)."""

    @abstractmethod
    def held(self, over: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Return the values ``after`` a step, (n, ...); those ``before`` it for what is over."""

    @abstractmethod
    def size(self, count: int, most: int) -> int:
        """Return how many examples a batch for ``count`` of them has, if batches have ``most``."""


@dataclass(frozen=True)
class AtOnce(Leaving):
    """An example leaves as soon as it is over, so nothing in a batch is over."""

    def kept(self, over: Tensor, step: int) -> Tensor | None:
        """Return the positions of the examples that stand."""
        kept = torch.nonzero(~over).flatten()
        return kept if len(kept) < len(over) else None

    def put(self, into: Tensor, rows: Tensor, where: Tensor, values: Tensor) -> None:
        """Write the values that are wanted, if any."""
        wanted = torch.nonzero(where).flatten()
        if len(wanted):
            into[rows[wanted]] = values[wanted]

    def held(self, over: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Return ``after``."""
        return after

    def size(self, count: int, most: int) -> int:
        """Return ``count``."""
        return count


@dataclass(frozen=True)
class ByHalves(Leaving):
    """Examples leave when half of the batch, or more, is over; few examples never leave.

    A batch of N then has at most log2(N) + 1 different sizes. Which examples are over is asked in
    the first steps, where most fall, and then every few steps, with one small transfer.

    Args:
        every: steps between two questions.
        least: batches are not made smaller than this; smaller ones take an accelerator no less
            time.
    """

    every: int = 4
    least: int = 64

    def kept(self, over: Tensor, step: int) -> Tensor | None:
        """Return the positions of the examples that stand, and of some others to fill the batch."""
        if step >= self.every and step % self.every:
            return None
        size = self.size(int((~over).sum()), len(over))
        return over.to(torch.uint8).sort(stable=True).indices[:size] if size < len(over) else None

    def put(self, into: Tensor, rows: Tensor, where: Tensor, values: Tensor) -> None:
        """Write all rows, most of them as they were."""
        into[rows] = self.held(~where, into[rows], values)

    def held(self, over: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Return the values ``before`` for what is over."""
        return torch.where(over.view(-1, *(1 for _ in before.shape[1:])), before, after)

    def size(self, count: int, most: int) -> int:
        """Return ``most``, halved as often as ``count`` allows; 0 for none."""
        if not count:
            return 0
        while most > 1 and (half := -(-most // 2)) >= max(count, self.least):
            most = half
        return most


_CHOSEN: ContextVar[Leaving | None] = ContextVar("leaving", default=None)


def leaving_on(device: torch.device) -> Leaving:
    """Return when examples leave a batch on a device."""
    return _CHOSEN.get() or (AtOnce() if asking_is_free(device) else ByHalves())


@contextmanager
def leaving(how: Leaving) -> Iterator[None]:
    """Let examples leave their batches in this way on every device, inside a ``with`` block."""
    token = _CHOSEN.set(how)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


class Standing:
    """The rows of a batch that a search works on.

    Args:
        batch: a tensor (N, ...) on the device of the search.
        over: which examples of it are over already, (N,) of bool; None if none is.

    Attributes:
        rows: the rows that the search works on, (n,).
    """

    def __init__(self, batch: Tensor, over: Tensor | None = None) -> None:
        self.leaving = leaving_on(batch.device)
        self.rows = torch.arange(len(batch), device=batch.device)
        self._over: Tensor | None = None
        if over is not None:
            self.drop(over, 0)

    @property
    def counted(self) -> Tensor | None:
        """Which of the rows are not over, (n,) of bool; None if no row was ever over."""
        return None if self._over is None else ~self._over

    def also(self, standing: Tensor) -> Tensor:
        """Return where something stands, (n,) of bool, but only where the row is not over."""
        return standing if self._over is None else standing & ~self._over

    def drop(self, over: Tensor, step: int) -> Tensor | None:
        """Note which rows are over from now on; return the positions that stay, None for all."""
        self._over = over if self._over is None else self._over | over
        kept = self.leaving.kept(self._over, step)
        if kept is not None:
            self.rows, self._over = self.rows[kept], self._over[kept]
        return kept

    def put(self, into: Tensor, where: Tensor, values: Tensor) -> None:
        """Write values (n, ...) to a tensor (N, ...) of the whole batch, but only ``where``."""
        self.leaving.put(into, self.rows, self.also(where), values)

    def held(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the values ``after`` a step, but those ``before`` it where the search is over."""
        return after if self._over is None else self.leaving.held(self._over, before, after)
