"""The images and labels of each training step, drawn from the seed and the number of the step."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from morex.core.seeding import derived_seed, generator_for
from morex.data import Augment, ImageSet


@dataclass(frozen=True)
class TrainingData:
    """The images to learn from, and those on which the best weights are chosen.

    Neither is the test set.

    Raises:
        TypeError: if they are no ``ImageSet``; ``morex.data.as_image_set`` makes one of tensors, a
            ``Dataset`` or a ``DataLoader``.
    """

    train: ImageSet
    validation: ImageSet
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        """Check the types."""
        for name, given in (("train", self.train), ("validation", self.validation)):
            if not isinstance(given, ImageSet):
                raise TypeError(
                    f"{name}: expected an ImageSet, got a {type(given).__name__}; make one with "
                    "morex.data.as_image_set"
                )


class Batches:
    """Shuffles the training set in every epoch, cuts it into batches, and augments them.

    The last incomplete batch of an epoch is left out.

    Raises:
        ValueError: if the training set is smaller than a batch.
    """

    def __init__(self, data: TrainingData, size: int, seed: int, name: str) -> None:
        self.data, self.size, self.seed, self.name = data, size, seed, name
        self.device = data.train.device
        self.per_epoch = len(data.train) // size
        if not self.per_epoch:
            raise ValueError(
                f"{name}: {len(data.train)} training images are less than a batch of {size}; "
                "lower batch_size"
            )
        self._generator = torch.Generator(self.device)
        self._order = torch.empty(0, dtype=torch.int64)

    def draw(self, step: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Return the images and labels of a step, and a generator for its other random draws.

        The generator is always the same object, seeded for the step: a captured step knows it.
        """
        epoch, position = divmod(step, self.per_epoch)
        if position == 0 or not len(self._order):
            self._order = self._shuffled(epoch)
        rows = self._order[position * self.size :][: self.size]
        generator = self._generator
        generator.manual_seed(derived_seed(self.seed, self.name, "step", step))
        x = self.data.augment(self.data.train.pixels(rows), generator)
        return channels_last(x), self.data.train.labels[rows], generator

    def _shuffled(self, epoch: int) -> Tensor:
        """Return the order of the training set in an epoch, the same on every device."""
        generator = generator_for(self.seed, self.name, "epoch", epoch)
        order = torch.randperm(len(self.data.train), generator=generator, device="cpu")
        return order.to(self.device, non_blocking=True)


def channels_last(x: Tensor) -> Tensor:
    """Return images with their channels innermost in memory, the faster layout everywhere."""
    return x.contiguous(memory_format=torch.channels_last)
