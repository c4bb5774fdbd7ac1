"""An exponential moving average of the weights of a model (EMA)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    """Averages that follow tensors: a <- d a + (1 - d) w after every step (EMA).

    The decay d_t = min(decay, (1 + t) / (10 + t)) grows with the number t of updates, so that the
    random initial weights soon stop mattering. Integer tensors are copied.

    Args:
        followed: the tensors, by name.
        decay: the largest decay, in (0, 1).
        weight: holds 1 - d of the next update. It is a tensor (of zero dimensions) if updates are
            captured, because a graph would repeat a number.
    """

    def __init__(
        self, followed: dict[str, Tensor], decay: float, weight: float | Tensor = 0.0
    ) -> None:
        self.followed = followed
        self.decay = decay
        self.updates = 0
        self._weight = weight
        self.shadow = {name: t.detach().clone() for name, t in followed.items()}
        # listed once: for small networks, checking every tensor takes as long as averaging
        self._floats = [name for name, t in followed.items() if t.is_floating_point()]
        self._others = [name for name, t in followed.items() if not t.is_floating_point()]

    def begin_update(self) -> None:
        """Count an update and set its weight."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        if isinstance(self._weight, Tensor):
            self._weight.fill_(weight)
        else:
            self._weight = weight

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the followed tensors."""
        shadow, followed = self.shadow, self.followed
        _move(
            [shadow[name] for name in self._floats],
            [followed[name].detach() for name in self._floats],
            self._weight,
        )
        if self._others:
            torch._foreach_copy_(
                [shadow[name] for name in self._others], [followed[name] for name in self._others]
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the followed tensors the values of the averages inside a ``with`` block."""
        current = {name: t.detach().clone() for name, t in self.followed.items()}
        self._write(self.shadow)
        try:
            yield
        finally:
            self._write(current)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, t in self.followed.items():
            t.copy_(values[name])


def _move(averages: list[Tensor], towards: list[Tensor], weight: float | Tensor) -> None:
    """Add ``weight`` times the difference to every average."""
    if isinstance(weight, Tensor):  # lerp takes no single tensor as the weight of a list
        steps = torch._foreach_sub(towards, averages)
        torch._foreach_mul_(steps, weight)
        torch._foreach_add_(averages, steps)
    else:
        torch._foreach_lerp_(averages, towards, weight)
