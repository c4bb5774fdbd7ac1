"""Several searches at once, each on its own images.

PGD searches in different balls need the same passes through the model. If budget and loss are the
same too, they are run as one PGD in a ball of slices, with one call of the model per step for all
of them. For small slices that is faster than one call for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from morex.attacks.base import Attack
from morex.attacks.freezing import Model
from morex.attacks.pgd import PGD
from morex.core.shards import Shard, current_shard, drawn_for_all, of_shard
from morex.perturbations import Ball


@dataclass(frozen=True)
class _Slices(Ball):
    """A batch cut into slices of images, each with its own ball.

    Lengths (of steps, and norms) are in units of each ball's radius.

    Args:
        eps: 1, in radii.
        balls: one per slice.
        sizes: how many images each slice has.
        shards: to which shard each slice belongs; None for a whole batch.
    """

    name: ClassVar[str] = "slices"

    balls: tuple[Ball, ...] = ()
    sizes: tuple[int, ...] = ()
    shards: tuple[Shard | None, ...] = ()

    def scaled(self, factor: float) -> Self:
        """Return the same slices with scaled balls; eps stays 1."""
        return replace(self, balls=tuple(ball.scaled(factor) for ball in self.balls))

    def norm(self, delta: Tensor) -> Tensor:
        """Return the norm of every image, in radii of its ball."""
        return torch.cat([ball.norm(part) / ball.eps for ball, part in self._each(delta)])

    def dual_norm(self, gradient: Tensor) -> Tensor:
        """Return the dual norm of every image, in radii of its ball."""
        return torch.cat([ball.dual_norm(part) * ball.eps for ball, part in self._each(gradient)])

    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """Project every image on its own ball."""
        return torch.cat([ball.project(part, at) for ball, part, at in self._each(moved, x)])

    def steepest_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return the steepest step of every image's ball, ``size`` radii long."""
        parts = self._each(gradient, at)
        return torch.cat([ball.steepest_step(g, size * ball.eps, z) for ball, g, z in parts])

    def search_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return the step of a search in every image's ball, ``size`` radii long."""
        parts = self._each(gradient, at)
        return torch.cat([ball.search_step(g, size * ball.eps, z) for ball, g, z in parts])

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a start for every image in its own ball."""
        starts = []
        for (ball, part), shard in zip(self._each(x), self.shards, strict=True):
            with of_shard(shard), drawn_for_all(len(part)):
                starts.append(ball.random_start(part, generator))
        return torch.cat(starts)

    def _each(self, *ts: Tensor) -> Iterator[tuple[Any, ...]]:
        """Yield each ball with its slices of the tensors."""
        return zip(self.balls, *(_parts(t, self.sizes) for t in ts), strict=True)


def _parts(t: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    return t.split(sizes)  # type: ignore[no-any-return, no-untyped-call]


def search_slices(
    attacks: Sequence[Attack],
    model: Model,
    xs: Sequence[Tensor],
    ys: Sequence[Tensor],
    generator: torch.Generator,
    shards: Sequence[Shard | None] | None = None,
) -> list[Tensor]:
    """Return what every attack finds for its own images, as ``attack.search`` does.

    Args:
        attacks: PGD searches with the same budget and loss are run as one.
        model: images to logits, already ``frozen``.
        xs: for each attack its images (N_i, C, H, W) in [0, 1].
        ys: for each attack the labels of these, (N_i,).
        generator: source of randomness, on the device of the images.
        shards: for each attack the shard to which its images belong, or None for a whole batch; by
            default the current one for all of them.
    """
    shards = shards or [current_shard()] * len(attacks)
    found: dict[int, Tensor] = {}
    for which in _groups(attacks):
        sizes = tuple(len(xs[i]) for i in which)
        together = tuple(shards[i] for i in which)
        attack = _as_one([attacks[i] for i in which], sizes, together)
        x, y = (torch.cat([t[i] for i in which]) for t in (xs, ys))
        with of_shard(together[0] if len(which) == 1 else None):
            found |= zip(which, _parts(attack.search(model, x, y, generator), sizes), strict=True)
    return [found[i] for i in range(len(attacks))]


def _groups(attacks: Sequence[Attack]) -> list[list[int]]:
    """Return groups of attacks that can be run as one, by index."""
    groups: list[list[int]] = []
    for i, attack in enumerate(attacks):
        together = (group for group in groups if _go_together(attacks[group[0]], attack))
        if group := next(together, None):
            group.append(i)
        else:
            groups.append([i])
    return groups


def _go_together(one: Attack, other: Attack) -> bool:
    """Return whether two attacks are PGD on all images and differ only in their ball."""
    if not isinstance(one, PGD) or not isinstance(other, PGD) or one.stop_when_fooled:
        return False
    single = len(one.balls) == len(other.balls) == 1  # parameters are no ball
    return single and replace(one, perturbation=other.perturbation) == other


def _as_one(
    attacks: Sequence[Attack], sizes: tuple[int, ...], shards: tuple[Shard | None, ...]
) -> Attack:
    first = attacks[0]
    if len(attacks) == 1 or not isinstance(first, PGD):
        return first
    balls = tuple(ball for attack in attacks if isinstance(attack, PGD) for ball in attack.balls)
    return replace(first, perturbation=_Slices(1.0, balls, sizes, shards))
