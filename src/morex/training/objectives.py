"""Objectives: the images x' that a training step trains on. Each method of the paper is one.

A member of an objective is an attack inside one perturbation: PGD in a ball, or one draw of a
transform (``Clean`` included). The objective lets its members change a batch, and the step descends
the mean loss on the batch that comes back:

===============  ==========================================================  ====================
objective        the batch it returns                                        method
===============  ==========================================================  ====================
``Single``       x' of its only member                                       single experts, MSD
``Max``          per example the x' with the largest loss                    MAX (Tramer & Boneh)
``Average``      x' of every member, one after the other                     AVG; RAMP's pairs
``OneDrawn``     x' of one member, drawn per batch                           SAT, E-AT
``Alternate``    x' of one member, in turn from batch to batch               MoRE as worded
``SideBySide``   an equal share of the examples for each member              MoRE (default)
===============  ==========================================================  ====================

MSD is ``Single`` over a PGD with several balls. ``OneDrawn`` is in ``drawn``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks import Attack, Model, Passes, cross_entropy, search_slices
from morex.core.shards import Shard, current_shard

UPDATE = Passes(forward=1, backward=1)
"""The cost of descending the loss on one example."""


@dataclass(frozen=True)
class Batch:
    """What a step trains on.

    Attributes:
        x: x', images in [0, 1].
        y: their labels.
        member: the index of each image's member.
        clean: the images that x' was made from; None in a validation.
        wrong: where the frozen model is wrong about x', (N,) of bool; None unless it is counted.
    """

    x: Tensor
    y: Tensor
    member: Tensor
    clean: Tensor | None = None
    wrong: Tensor | None = None


@dataclass(frozen=True)
class Objective(ABC):
    """The inner maximisation of a training step over its ``members``.

    A step trains on the largest loss, so the members are taken as ``Attack.by_loss`` returns them.

    Raises:
        ValueError: if there is no member, or one is only for evaluation.
    """

    divisible: ClassVar[bool] = False
    """Whether x' of an image does not depend on the others, so that processes can divide a batch.

    An objective of your own may compare the images of a batch, so it has to say so itself.
    """

    members: tuple[Attack, ...]

    def __post_init__(self) -> None:
        """Check the members, and let them maximise the loss."""
        if not self.members:
            raise ValueError(f"{type(self).__name__} needs at least one member, got none")
        if unfit := [member for member in self.members if member.only_for_evaluation]:
            raise ValueError(
                f"{type(self).__name__}: {type(unfit[0]).__name__} is only for evaluation, and a "
                "training needs the largest loss; use PGD, or WorstOfDraws for transforms"
            )
        object.__setattr__(self, "members", tuple(member.by_loss() for member in self.members))

    def turn(self, step: int, seed: int) -> int:
        """Return which variant of the training step a step is; it is chosen on the host.

        Two steps with the same turn do the same with different images and random draws. On a GPU a
        step is captured once for each turn. By default every step is another variant.

        Args:
            step: the number of the step, from 0.
            seed: that of the step's generator.
        """
        return step

    @abstractmethod
    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return the batch to train on.

        Args:
            model: the whole model, frozen (evaluation mode, no weight gradients).
            x: images (N, C, H, W) in [0, 1].
            y: labels (N,).
            turn: which variant of the step this is, as ``turn`` returned it.
            generator: the source of the step's random draws, on the device of ``x``.
        """

    @property
    def counts_errors(self) -> bool:
        """Whether it goes by how often the model is wrong (``after``)."""
        return False

    def after(self, errors: Sequence[float]) -> "Objective":
        """Return the objective for the steps to come; only one that counts errors changes.

        Args:
            errors: for each member, the share of the images so far about which the model was wrong.
        """
        return self

    @property
    def fewest(self) -> int:
        """The fewest images that a process needs where several processes divide a batch."""
        return 1

    @property
    def updates(self) -> int:
        """The number of images in the update per example of the batch."""
        return 1

    @property
    @abstractmethod
    def passes(self) -> Passes:
        """The cost of a training step per example, including the update."""

    def _passes_of_members(self) -> Passes:
        return sum((member.passes for member in self.members), Passes())

    def _changed_by(
        self, which: int, model: Model, x: Tensor, y: Tensor, generator: torch.Generator
    ) -> Batch:
        """Return the whole batch, changed by one member."""
        moved = self.members[which].search(model, x, y, generator)
        return Batch(moved, y, torch.full_like(y, which), x)

    def _found_by_all(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator
    ) -> list[Tensor]:
        """Return what every member makes of the whole batch, with one search for all balls."""
        count = len(self.members)
        return search_slices(self.members, model, [x] * count, [y] * count, generator)


class Single(Objective):
    """Train on what the only member makes of the batch."""

    divisible: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that there is one member."""
        if len(self.members) != 1:
            raise ValueError(f"Single takes one member, got {len(self.members)}")
        super().__post_init__()

    def turn(self, step: int, seed: int) -> int:
        """Return 0: all steps are alike."""
        return 0

    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return the member's x'."""
        return self._changed_by(0, model, x, y, generator)

    @property
    def passes(self) -> Passes:
        """The member and the update."""
        return self._passes_of_members() + UPDATE


class Max(Objective):
    """Train on the worst member per example (MAX, Tramer & Boneh 2019, section 4.1)."""

    divisible: ClassVar[bool] = True

    def turn(self, step: int, seed: int) -> int:
        """Return 0: all steps are alike."""
        return 0

    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return, per example, the x' with the largest cross-entropy."""
        moved = torch.cat(self._found_by_all(model, x, y, generator))
        with torch.no_grad():
            losses = cross_entropy(model(moved), y.repeat(len(self.members)))
        worst = losses.view(-1, len(y)).argmax(0)
        chosen = moved[worst * len(y) + torch.arange(len(y), device=y.device)]
        return Batch(chosen, y, worst, x)

    @property
    def passes(self) -> Passes:
        """All members, a forward pass to judge each, and the update."""
        return self._passes_of_members() + Passes(forward=len(self.members)) + UPDATE


class Average(Objective):
    """Train on all members at once (AVG, Tramer & Boneh 2019, section 4.1)."""

    divisible: ClassVar[bool] = True

    def turn(self, step: int, seed: int) -> int:
        """Return 0: all steps are alike."""
        return 0

    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return the x' of all members: (members * N, C, H, W). Its mean loss is that of AVG."""
        found = self._found_by_all(model, x, y, generator)
        return _joined([Batch(f, y, torch.full_like(y, i), x) for i, f in enumerate(found)])

    @property
    def updates(self) -> int:
        """One per member."""
        return len(self.members)

    @property
    def passes(self) -> Passes:
        """All members, and an update on the x' of each."""
        return self._passes_of_members() + UPDATE * self.updates


class Alternate(Objective):
    """Train on the members in turn, from batch to batch (MoRE, section 2.1, as it is worded).

    If the gate has BatchNorm, it collapses onto one expert: a batch with one perturbation is
    normalised by its own statistics, which removes what distinguishes the perturbations.
    """

    divisible: ClassVar[bool] = True

    def turn(self, step: int, seed: int) -> int:
        """Return the member whose turn it is."""
        return step % len(self.members)

    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return the x' of the member whose turn it is."""
        return self._changed_by(turn, model, x, y, generator)

    @property
    def passes(self) -> Passes:
        """The mean over the members, and the update."""
        return self._passes_of_members() * (1 / len(self.members)) + UPDATE


@dataclass(frozen=True)
class SideBySide(Objective):
    """Train on all members in every batch, each on its share of the examples (MoRE's default).

    There are s slots, and each member has as many of them as its share. Example n goes to slot
    (n + step) mod s: if the slots do not divide the batch evenly, they take turns in getting one
    more example.

    Args:
        members: the attacks, one per perturbation.
        shares: slots per member, at least one each; by default one each.

    Raises:
        ValueError: if there is no share for a member, or a share is below 1.
    """

    divisible: ClassVar[bool] = True

    shares: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check members and shares."""
        super().__post_init__()
        if self.shares and (len(self.shares) != len(self.members) or min(self.shares) < 1):
            raise ValueError(
                f"SideBySide needs a share >= 1 for each of {len(self.members)} members, "
                f"got {self.shares}"
            )

    @property
    def _slots(self) -> list[int]:
        """The member of every slot."""
        shares = self.shares or (1,) * len(self.members)
        return [which for which, share in enumerate(shares) for _ in range(share)]

    def turn(self, step: int, seed: int) -> int:
        """Return how far the slots have moved on."""
        return step % len(self._slots)

    def build(
        self, model: Model, x: Tensor, y: Tensor, turn: int, generator: torch.Generator
    ) -> Batch:
        """Return what the members make of their shares, one after the other: N examples.

        In a shard the slots are those of the whole batch.
        """
        shard, count = current_shard() or Shard(range(len(y)), len(y)), len(self._slots)
        firsts = self._firsts(shard.of, turn)
        xs, ys = (
            [
                torch.cat([t[(i - shard.rows[0]) % count :: count] for i in starts])
                for starts in firsts.values()
            ]
            for t in (x, y)
        )
        shards = None
        if current_shard():
            shards = [shard.strided(starts, count) for starts in firsts.values()]
        attacks = [self.members[which] for which in firsts]
        moved = search_slices(attacks, model, xs, ys, generator, shards)
        parts = zip(moved, ys, firsts, xs, strict=True)
        return _joined([Batch(m, y, torch.full_like(y, which), x) for m, y, which, x in parts])

    def _firsts(self, images: int, turn: int) -> dict[int, list[int]]:
        """Return for each member the first example of each of its slots."""
        slots, firsts = self._slots, dict[int, list[int]]()
        for i in range(min(len(slots), images)):
            firsts.setdefault(slots[(i + turn) % len(slots)], []).append(i)
        return firsts

    @property
    def fewest(self) -> int:
        """One for each slot."""
        return len(self._slots)

    @property
    def passes(self) -> Passes:
        """The mean over the slots, and the update."""
        slots = self._slots
        searches = sum((self.members[which].passes for which in slots), Passes())
        return searches * (1 / len(slots)) + UPDATE


def _joined(parts: list[Batch]) -> Batch:
    return Batch(
        torch.cat([part.x for part in parts]),
        torch.cat([part.y for part in parts]),
        torch.cat([part.member for part in parts]),
        torch.cat([part.clean for part in parts if part.clean is not None]),
    )
