"""How much work attacks are at most, and how much of it is done.

Work is counted in images that go forward through the model; a backward pass counts as two forward
passes. Attacks end early on images that they fool, so what is done jumps forward at their end.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from morex.attacks import Attack, DeepFool, ExpertTransfer, GateSteering, Passes, SearchAround
from morex.attacks.gate_losses import Gated, is_sparse
from morex.attacks.transfer import experts_of

Report = Callable[[float, str], None]
"""Called with the share of the work that is done, in [0, 1], and the name of the current part."""

_BACKWARD = 2.0
"""Forward passes that take as long as a backward pass."""


def most_passes(
    attack: Attack, gated_experts: int, classes: int, *, sparse: bool = False
) -> Passes:
    """Return the most passes per image of an attack, with the decision at its end.

    Args:
        attack: any attack.
        gated_experts: how many experts the model's gate chooses among; 0 without a gate.
        classes: of the images.
        sparse: whether the gate sends an image to some of them only.
    """
    attack = attack.attack if isinstance(attack, SearchAround) else attack
    if isinstance(attack, DeepFool) and attack.candidates is None:
        attack = replace(attack, candidates=max(2, classes))
    times = 1.0
    if isinstance(attack, GateSteering) and gated_experts:
        times = gated_experts
    elif isinstance(attack, ExpertTransfer) and sparse:
        times = 1.5  # the third search is through the mixture in which every expert is asked
    return attack.passes * times + Passes(forward=1)


def most_work(attack: Attack, model: nn.Module, images: int, classes: int) -> float:
    """Return the most work that an attack on some images is."""
    experts = len(experts_of(model)) if isinstance(model, Gated) else 0
    passes = most_passes(attack, experts, classes, sparse=is_sparse(model))
    return images * (passes.forward + _BACKWARD * passes.backward)


class Workload:
    """Parts that are worked on one after the other, and how far the work is.

    Args:
        parts: the most work that each part is, by name, in their order.
    """

    def __init__(self, parts: Mapping[str, float]) -> None:
        self.parts, self.names = dict(parts), [*parts]
        ends = [0.0, *accumulate(parts.values())]
        self.starts, self.total = dict(zip(parts, ends, strict=False)), ends[-1]
        self.part, self.done = next(iter(parts), ""), 0.0
        self.report: Report = _ignore

    @property
    def share(self) -> float:
        """The share of all work that is done, in [0, 1]."""
        return self.done / self.total if self.total else 1.0

    def reach(self, part: str, share: float = 1.0) -> None:
        """Set what is done to a share of a part, and all parts before it."""
        self.done = self.starts[part] + share * self.parts[part]
        following = self.names.index(part) + (share >= 1)
        self.part = self.names[min(following, len(self.names) - 1)]
        self.report(self.share, self.part)

    def add(self, work: float) -> None:
        """Add work on the current part; it never goes beyond the part's end."""
        end = self.starts[self.part] + self.parts[self.part]
        self.done = min(self.done + work, end)
        self.report(self.share, self.part)

    @contextmanager
    def counting(self, model: nn.Module, report: Report) -> Iterator[None]:
        """Add every call of ``model`` inside a ``with`` block; everything done is reported."""

        def called(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            for x in inputs[:1]:
                searched = torch.is_grad_enabled() and x.requires_grad
                self.add(len(x) * (1 + _BACKWARD * searched))

        hook, self.report = model.register_forward_pre_hook(called), report
        try:
            yield
        finally:
            self.report = _ignore
            hook.remove()


def _ignore(share: float, part: str) -> None:
    """Report nothing."""
