"""The images and labels of each training step, drawn from the seed and the number of the step."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from morex.core.seeding import derived_seed, generator_for
from morex.data import Augment, ImageSet


@dataclass(frozen=True)
class Extra:
    """Additional images, such as generated ones, that have a fixed share of each batch.

    The way of Rebuffi et al. 2021 ("Data Augmentation Can Improve Robustness", section 4) and Gowal
    et al. 2021 ("Improving Robustness using Generated Data", section 5).

    Args:
        images: with the shape and classes of the training images.
        share: of each batch, in (0, 1), rounded to whole images.

    Raises:
        ValueError: if the share is out of its range.
    """

    images: ImageSet
    share: float

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 < self.share < 1:
            raise ValueError(f"extra images: the share must be in (0, 1), got {self.share}")


@dataclass(frozen=True)
class TrainingData:
    """The images to learn from, and those on which the best weights are chosen.

    Neither is the test set. An epoch is one pass over the training images; the extra ones come on
    top and have a sequence of shuffles that does not know about epochs.

    Raises:
        TypeError: if they are no ``ImageSet``; ``morex.data.as_image_set`` makes one of tensors, a
            ``Dataset`` or a ``DataLoader``.
        ValueError: if extra images have another shape, other classes, or another device than the
            training images.
    """

    train: ImageSet
    validation: ImageSet
    augment: Augment = field(default_factory=Augment)
    extra: Extra | None = None

    def __post_init__(self) -> None:
        """Check the types."""
        for name, given in (("train", self.train), ("validation", self.validation)):
            if not isinstance(given, ImageSet):
                raise TypeError(
                    f"{name}: expected an ImageSet, got a {type(given).__name__}; make one with "
                    "morex.data.as_image_set"
                )
        if self.extra and _form(self.extra.images) != _form(self.train):
            raise ValueError(
                "extra images must have shape, classes and device of the training images, got "
                f"{_form(self.extra.images)}, expected {_form(self.train)}"
            )

    def extra_in_batch(self, size: int) -> int:
        """Return how many images of a batch are extra ones.

        Raises:
            ValueError: if the batch would have none of them, or no others.
        """
        if not self.extra:
            return 0
        count = round(self.extra.share * size)
        if not 0 < count < size:
            raise ValueError(
                f"extra images: a share of {self.extra.share} of a batch of {size} is {count} "
                "images; change the share or batch_size"
            )
        return count

    def images_per_epoch(self, size: int) -> int:
        """Return how many images all batches of an epoch have together, extra ones included."""
        return len(self.train) // (size - self.extra_in_batch(size)) * size


def _form(images: ImageSet) -> tuple[object, ...]:
    return images.shape, images.classes, images.device.type


class Batches:
    """Shuffles the training set in every epoch, cuts it into batches, and augments them.

    The last incomplete batch of an epoch is left out. Extra images are the last ones of a batch.

    Raises:
        ValueError: if the training set is smaller than a batch, or has no whole share of one.
    """

    def __init__(self, data: TrainingData, size: int, seed: int, name: str) -> None:
        self.data, self.size, self.seed, self.name = data, size, seed, name
        self.device = data.train.device
        self.extra = data.extra_in_batch(size)
        self.own = size - self.extra
        self.per_epoch = len(data.train) // self.own
        if not self.per_epoch:
            raise ValueError(
                f"{name}: {len(data.train)} training images are less than a batch of {self.own}; "
                "lower batch_size"
            )
        self._generator = torch.Generator(self.device)
        self._order = self._extra_order = -1, torch.empty(0, dtype=torch.int64)

    def draw(self, step: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Return the images and labels of a step, and a generator for its other random draws.

        The generator is always the same object, seeded for the step: a captured step knows it.
        """
        epoch, position = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, self._shuffled(epoch)
        rows = self._order[1][position * self.own :][: self.own]
        generator = self._generator
        generator.manual_seed(derived_seed(self.seed, self.name, "step", step))
        x, y = self.data.train.pixels(rows), self.data.train.labels[rows]
        if self.data.extra:
            more, chosen = self.data.extra.images, self._extra_rows(step)
            x, y = torch.cat([x, more.pixels(chosen)]), torch.cat([y, more.labels[chosen]])
        return channels_last(self.data.augment(x, generator)), y, generator

    def _extra_rows(self, step: int) -> Tensor:
        """Return which extra images a step has: all come once before any comes again."""
        assert self.data.extra
        total, first = len(self.data.extra.images), step * self.extra
        parts, count = list[Tensor](), self.extra
        while count:
            turn, position = divmod(first, total)
            if self._extra_order[0] != turn:
                self._extra_order = turn, self._shuffle(total, "extra", turn)
            parts.append(self._extra_order[1][position:][:count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)

    def _shuffled(self, epoch: int) -> Tensor:
        """Return the order of the training set in an epoch, the same on every device."""
        return self._shuffle(len(self.data.train), "epoch", epoch)

    def _shuffle(self, count: int, what: str, number: int) -> Tensor:
        generator = generator_for(self.seed, self.name, what, number)
        order = torch.randperm(count, generator=generator, device="cpu")
        return order.to(self.device, non_blocking=True)


def channels_last(x: Tensor) -> Tensor:
    """Return images with their channels innermost in memory, the faster layout everywhere."""
    return x.contiguous(memory_format=torch.channels_last)
