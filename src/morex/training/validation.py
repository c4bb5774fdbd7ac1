"""Validation: how good a model is on images that it does not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from morex.attacks import Attack, frozen
from morex.core.precision import Precision, autocast
from morex.core.seeding import generator_for
from morex.core.shards import of_shard
from morex.data import ImageSet
from morex.training.batches import channels_last
from morex.training.criteria import Criterion
from morex.training.objectives import Batch
from morex.training.world import ALONE, World


@dataclass(frozen=True)
class Validation:
    """Measures a model under each member of its objective.

    Members are attacked as in training, unless that search is too weak to judge by: then by the
    ``judge`` of the attack.

    The random draws are the same every time, so that scores of different epochs can be compared.

    Args:
        members: the members of the objective.
        criterion: decides which answers are right.
        images: validation images; they are not augmented.
        batch_size: images per forward pass.
        precision: number format of the passes.
        seed: with ``name`` it decides every random draw.
        name: the name of the training.
        world: the processes that each have a shard of every batch.
    """

    members: Sequence[Attack]
    criterion: Criterion
    images: ImageSet
    batch_size: int
    precision: Precision
    seed: int
    name: str
    world: World = ALONE

    def accuracies(self, model: nn.Module) -> list[float]:
        """Return the accuracy under each member, in [0, 1]."""
        return [
            self._accuracy(model, member.judge, which) for which, member in enumerate(self.members)
        ]

    def under_single_steps(self, model: nn.Module) -> list[float]:
        """Return the accuracy under each member as in training; empty if none is one step."""
        if not any(member.takes_single_step for member in self.members):
            return []
        return [self._accuracy(model, member, which) for which, member in enumerate(self.members)]

    def _accuracy(self, model: nn.Module, attack: Attack, which: int) -> float:
        device = self.images.device
        hits = torch.zeros((), dtype=torch.int64, device=device)
        generator = generator_for(self.seed, self.name, "validation", which, device=device)
        with autocast(self.precision, device), frozen(model):
            for start in range(0, len(self.images), self.batch_size):
                rows = slice(start, start + self.batch_size)
                x, y = channels_last(self.images.pixels(rows)), self.images.labels[rows]
                shard = self.world.shard(len(y))
                x, y = self.world.part(x), self.world.part(y)
                if not len(y):  # the last batch may have fewer images than there are processes
                    continue
                with of_shard(shard):
                    moved = attack.search(model, x, y, generator)
                batch = Batch(moved, y, torch.full_like(y, which))
                with torch.no_grad():
                    hits += self.criterion.hits(model, batch).sum()
        self.world.add_up([hits])
        return int(hits) / len(self.images)
