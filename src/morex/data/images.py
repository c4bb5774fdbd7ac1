"""Labelled images as tensors that stay on one device."""

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor

from morex.core.precision import ordinary
from morex.core.seeding import generator_for
from morex.data.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels, all on one device, checked when made.

    Attributes:
        images: uint8, or float32 in [0, 1], of shape (N, C, H, W), N >= 1.
        labels: int64, (N,), in [0, K).
        classes: the K class names; label k means ``classes[k]``.

    Raises:
        ValueError: if shapes, types, devices or labels are not as above.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check shapes, types, devices and labels."""
        images, labels = ordinary(self.images), ordinary(self.labels)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        if images.dtype not in (torch.uint8, torch.float32) or images.ndim != 4:
            raise ValueError(
                f"images: expected uint8, or float32 in [0, 1], of shape (N, C, H, W), got "
                f"{images.dtype} {tuple(images.shape)}"
            )
        if 0 in images.shape:
            raise ValueError(f"images: expected at least one pixel, got {tuple(images.shape)}")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels: expected int64 of shape ({len(images)},), got {labels.dtype} "
                f"{tuple(labels.shape)}"
            )
        if labels.device != images.device:
            raise ValueError(
                f"labels are on {labels.device} and images on {images.device}; "
                "move them to one device"
            )
        if images.is_floating_point():
            _check_range(images)
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.classes):
            raise ValueError(
                f"labels: expected values in [0, {len(self.classes)}), one for each of the "
                f"{len(self.classes)} classes, got [{low}, {high}]"
            )

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image, (C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """The device of images and labels."""
        return self.images.device

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the same set on ``device``."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.classes)

    def take(self, rows: Tensor) -> "ImageSet":
        """Return the images at ``rows``, int64 (n,), in that order, with the same classes."""
        rows = rows.to(self.device)
        return ImageSet(self.images[rows], self.labels[rows], self.classes)

    def first(self, n: int) -> "ImageSet":
        """Return the first ``n`` images, or all if there are fewer.

        These may be of few classes, if the set is sorted by class: see ``sample``.

        Raises:
            ValueError: if ``n`` is below 1.
        """
        if n < 1:
            raise ValueError(f"first needs n >= 1, got {n}")
        return ImageSet(self.images[:n], self.labels[:n], self.classes)

    def sample(self, n: int, seed: int) -> "ImageSet":
        """Return ``n`` images drawn without replacement and evenly over the classes.

        The numbers of images of any two classes differ by at most one, unless a class has no more.
        The images keep their order. If there are no more than ``n``, all are returned.

        Raises:
            ValueError: if ``n`` is below 1.
        """
        if n < 1:
            raise ValueError(f"sample needs n >= 1, got {n}")
        generator = generator_for(seed, "sample")
        shuffled = torch.randperm(len(self), generator=generator, device="cpu")
        rank = _rank_in_class(self.labels.cpu(), shuffled)
        by_rank = shuffled[rank[shuffled].argsort(stable=True)]
        return self.take(by_rank[:n].sort().values)

    def pixels(self, rows: Tensor | slice) -> Tensor:
        """Return the images as new float32 in [0, 1], (n, C, H, W), for int64 rows or a slice.

        Bytes are divided by 255.
        """
        chosen = self.images[rows]
        if chosen.is_floating_point():
            return chosen.clone()
        return chosen.to(torch.float32).div_(255)

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of images, labels and class names.

        It is the same on every device. Work on data with another fingerprint has to be redone.
        """
        head = json.dumps([list(self.images.shape), list(self.classes)])
        digest = hashlib.sha256(head.encode())
        digest.update(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def digests(self, n: int) -> dict[int, str]:
        """Return digests of the first 1, 2, 4, ... and ``n`` images with their labels.

        Sets of different lengths agree on all numbers that both have, if the one begins like the
        other. The digests are the same on every device.
        """
        found, digest, done = dict[int, str](), hashlib.sha256(), 0
        digest.update(f"{self.images.dtype} {list(self.shape)}".encode())
        for count in [*(2**power for power in range(n.bit_length()) if 2**power < n), n]:
            for part in (self.images, self.labels):
                digest.update(part[done:count].cpu().contiguous().numpy().data)
            found[count], done = digest.hexdigest()[:16], count
        return found

    def split(self, validation: float, seed: int) -> "tuple[ImageSet, ImageSet]":
        """Return a random split into (train, validation), with the same share of every class.

        Of a class of n images, round(validation * n) are for validation, at least 1 and at most
        n - 1. Both parts keep the order of the images. The draw depends on ``seed`` and the labels
        alone.

        Args:
            validation: the share of the images, in (0, 1).
            seed: the run's seed.

        Raises:
            ValueError: if ``validation`` is not in (0, 1).
            DataError: if a class has fewer than two images.
        """
        if not 0 < validation < 1:
            raise ValueError(f"validation: expected a share in (0, 1), got {validation}")
        labels = self.labels.cpu()
        counts = torch.bincount(labels, minlength=len(self.classes))
        self._require_two_of_each(counts)
        wanted = (counts * validation).round().long().clamp(min=1).minimum(counts - 1)
        shuffled = torch.randperm(len(labels), generator=generator_for(seed, "split"), device="cpu")
        held_out = _rank_in_class(labels, shuffled) < wanted[labels]
        return self.take((~held_out).nonzero()[:, 0]), self.take(held_out.nonzero()[:, 0])

    def _require_two_of_each(self, counts: Tensor) -> None:
        few = int(counts.argmin())
        if counts[few] < 2:
            raise DataError(
                f"class {self.classes[few]!r} has {int(counts[few])} image(s), which is too few to "
                "split into training and validation; add images or leave the class out"
            )


def _check_range(images: Tensor) -> None:
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also catches NaN
        how = "divide by 255" if 1 < high <= 255 and low >= 0 else "normalise inside the model"
        raise ValueError(f"images: expected floats in [0, 1], got [{low:.4g}, {high:.4g}]; {how}")


def _rank_in_class(labels: Tensor, order: Tensor) -> Tensor:
    """Return, for every row, how many rows of its class come before it in ``order``: (N,)."""
    grouped = order[
        labels[order].argsort(stable=True)
    ]  # grouped by class, in ``order`` within each class
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[grouped] = torch.arange(len(labels), device=labels.device) - starts[labels[grouped]]
    return rank
