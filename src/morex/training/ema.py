"""An exponential moving average of the weights of a model (EMA)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    """Averages that follow tensors: a <- d a + (1 - d) w after every step (EMA).

    The decay d_t = min(decay, (1 + t) / (10 + t)) grows with the number t of updates, so that the
    random initial weights soon stop mattering. Integer tensors are copied.
    """

    def __init__(self, followed: dict[str, Tensor], decay: float) -> None:
        self.followed = followed
        self.decay = decay
        self.updates = 0
        self.shadow = {name: t.detach().clone() for name, t in followed.items()}
        # listed once: for small networks, checking every tensor takes as long as averaging
        self._floats = [name for name, t in followed.items() if t.is_floating_point()]
        self._others = [name for name, t in followed.items() if not t.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the followed tensors."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        shadow, followed = self.shadow, self.followed
        torch._foreach_lerp_(
            [shadow[name] for name in self._floats],
            [followed[name].detach() for name in self._floats],
            weight,
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
