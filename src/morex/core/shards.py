"""The part of a batch that a process has, and random draws that are those of the whole batch.

Several processes that train one model each have a shard of every batch. A draw for a shard is made
for the whole batch, and the rows of the shard are taken. With equal generators in all processes,
each image gets what it would get in a single process.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Shard:
    """Some of the images of a batch.

    Args:
        rows: their places in the whole batch, in order.
        of: how many images the whole batch has.
    """

    rows: Sequence[int]
    of: int

    def strided(self, starts: Sequence[int], step: int) -> "Shard":
        """Return the shard's part of the images ``start``, ``start + step``, ... for each start."""
        whole = [row for start in starts for row in range(start, self.of, step)]
        return Shard([place for place, row in enumerate(whole) if row in self.rows], len(whole))


_SHARD: ContextVar[Shard | None] = ContextVar("shard", default=None)


def current_shard() -> Shard | None:
    """Return the shard to which the images of the caller belong; None if they are a whole batch."""
    return _SHARD.get()


@contextmanager
def of_shard(shard: Shard | None) -> Iterator[None]:
    """Within the block, images are those of a shard; with None, a whole batch."""
    token = _SHARD.set(shard)
    try:
        yield
    finally:
        _SHARD.reset(token)


_IMAGES_AT: ContextVar[int | None] = ContextVar("images_at", default=None)


@contextmanager
def images_at(dimension: int) -> Iterator[None]:
    """Within the block, this dimension of a draw stands for the images, whatever others are like.

    A draw needs it if a dimension before that of the images is a fixed number.
    """
    token = _IMAGES_AT.set(dimension)
    try:
        yield
    finally:
        _IMAGES_AT.reset(token)


def drawn_for_all(images: int) -> AbstractContextManager[object]:
    """Within the block, draw for the whole batch whenever a draw is for each of some images.

    Args:
        images: their number. If they are not all images of the shard, because a search has ended
            for some, each process draws numbers that no other process draws.
    """
    shard = _SHARD.get()
    return nullcontext() if shard is None else _DrawnForAll(shard, images)


class _DrawnForAll(TorchFunctionMode):
    """Changes what functions of PyTorch do that draw from a generator.

    A draw with a dimension for the images is made for the whole batch; the first dimension of the
    right length counts as that, unless ``images_at`` names another. One without such a dimension is
    for all images together, and so the same in all processes. What a Poisson process or a
    permutation draws has no rows that could be taken: each process draws it by itself.
    """

    def __init__(self, shard: Shard, images: int) -> None:
        super().__init__()
        self.shard, self.images = shard, images

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, for the whole batch if it draws."""
        options = dict(kwargs or {})
        generator = options.get("generator")
        if generator is None:
            return func(*args, **options)
        if self.images == len(self.shard.rows):
            if func in (torch.rand, torch.randn, torch.randint):
                return self._made(func, args, options)
            if func in (Tensor.normal_, Tensor.uniform_):
                return self._filled(func, args, options)
        return func(*args, **(options | {"generator": self._own(generator)}))

    def _made(
        self, func: Callable[..., Tensor], args: Sequence[Any], options: dict[str, Any]
    ) -> Tensor:
        """Return a new tensor of draws."""
        before, size = _split(args, options, whole=func is not torch.randint)
        where = self._where(size)
        if where is None:
            return func(*before, size, **options)
        size[where] = self.shard.of
        return self._rows(func(*before, size, **options), where)

    def _filled(
        self, func: Callable[..., Tensor], args: Sequence[Any], options: dict[str, Any]
    ) -> Tensor:
        """Fill a tensor with draws."""
        tensor: Tensor = args[0]
        size = [*tensor.shape]
        where = self._where(size)
        if where is None:
            return func(*args, **options)
        size[where] = self.shard.of
        whole = torch.empty(size, dtype=tensor.dtype, device=tensor.device)
        if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
            whole = whole.to(memory_format=torch.channels_last)  # draws fill memory in its order
        return tensor.copy_(self._rows(func(whole, *args[1:], **options), where))

    def _where(self, size: list[int]) -> int | None:
        """Return the dimension of the images, if there is one."""
        named = _IMAGES_AT.get()
        if named is not None:
            return named
        return size.index(self.images) if self.images in size else None

    def _rows(self, whole: Tensor, where: int) -> Tensor:
        rows = self.shard.rows
        if isinstance(rows, range):
            return whole.narrow(where, rows.start, len(rows)).clone()
        return whole.index_select(where, torch.tensor(rows, device=whole.device))

    def _own(self, generator: torch.Generator) -> torch.Generator:
        """Return a generator for this process alone, which depends on the one of all processes."""
        drawn = torch.randint(2**62, (), generator=generator, device=generator.device)
        first = self.shard.rows[0] if len(self.shard.rows) else -1
        return torch.Generator(generator.device).manual_seed(int(drawn) + first)


def _split(
    args: Sequence[Any], options: dict[str, Any], *, whole: bool
) -> tuple[Sequence[Any], list[int]]:
    """Return the arguments before a size, and the size, which is taken out of ``options``.

    Args:
        args: the arguments; a size may be one of them, or all of them if ``whole``.
        options: the named arguments.
        whole: whether the arguments are nothing but a size.
    """
    if "size" in options:
        return args, [*options.pop("size")]
    if args and not isinstance(args[-1], int):
        return args[:-1], [*args[-1]]
    return ((), [*args]) if whole else (args, [])
