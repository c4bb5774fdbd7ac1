"""Images that a caller already has: tensors, a Dataset or a DataLoader of torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from morex.core.precision import default_settings
from morex.data.images import ImageSet

Given = ImageSet | tuple[Any, ...] | Dataset[Any] | DataLoader[Any]
"""Labelled images in any of the forms that ``as_image_set`` takes."""

_FORMS = "an ImageSet, (images, labels), (images, labels, class names), a Dataset or a DataLoader"
_READ = 256
"""Images of a ``Dataset`` that are read at a time."""


def as_image_set(data: Given, device: torch.device | str | None = None) -> ImageSet:
    """Return labelled images as an ``ImageSet``.

    Images are bytes, or floats in [0, 1], of shape (N, C, H, W). Floats that are all whole
    multiples of 1/255 become bytes, which hold the same values. Others stay floats, in float32, and
    are never rounded to bytes.

    Args:
        data: an ``ImageSet``; ``(images, labels)`` or ``(images, labels, class names)`` as tensors
            or arrays; or a ``Dataset`` or ``DataLoader`` that yields images and labels in a fixed
            order. Without class names the classes are called 0, 1, 2, ...
        device: where to put the images; by default they stay where they are.

    Raises:
        ValueError: if images or labels are not as above, or a ``DataLoader`` shuffles or drops
            its last images.
    """
    if isinstance(data, ImageSet):
        return data if device is None else data.to(device)
    with default_settings(torch.device("cpu")), torch.random.fork_rng(devices=[]):
        images, labels, classes = _parts(data)
        made = _image_set(_tensor(images, "images"), _tensor(labels, "labels"), classes)
    return made if device is None else made.to(device)


def images_for(model: object, data: Given) -> ImageSet:
    """Return labelled images: an ``ImageSet`` as it is, others on the device of the model."""
    if isinstance(data, ImageSet) or not isinstance(model, nn.Module):
        return as_image_set(data)
    weights = (*model.parameters(), *model.buffers())
    return as_image_set(data, weights[0].device if weights else None)


def _parts(data: Given) -> tuple[Any, Any, Sequence[str] | None]:
    """Return images, labels and class names."""
    if isinstance(data, DataLoader):
        _check_order(data)
        return *_joined(data), None
    if isinstance(data, Dataset):
        return *_joined(_batches(data)), None
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        images, labels, *classes = data
        return images, labels, classes[0] if classes else None
    raise ValueError(f"data: expected {_FORMS}, got {_kind(data)}")


def _check_order(loader: DataLoader[Any]) -> None:
    """Raise ``ValueError`` if a loader draws its images, or drops the last ones."""
    batches: Any = loader.batch_sampler
    sampler: Any = getattr(batches, "sampler", loader.sampler)
    if isinstance(sampler, RandomSampler | SubsetRandomSampler | WeightedRandomSampler):
        raise ValueError(
            "the DataLoader shuffles, so its images have another order every time and outcomes "
            "cannot be compared image by image; make it with shuffle=False, or with a sampler that "
            "draws nothing"
        )
    drops = isinstance(batches, BatchSampler) and batches.drop_last
    if drops and (dropped := len(sampler) % batches.batch_size):
        raise ValueError(
            f"the DataLoader drops the last {dropped} images; make it with drop_last=False"
        )


def _batches(data: Dataset[Any]) -> DataLoader[Any]:
    """Return the items of a ``Dataset`` in batches, in their order."""
    if isinstance(data, IterableDataset):
        return DataLoader(data, batch_size=_READ)
    first = data[0]
    if not (isinstance(first, tuple | list) and len(first) == 2):
        raise ValueError(f"the Dataset: expected pairs of image and label, got {_kind(first)}")
    if not isinstance(first[0], Tensor | np.ndarray):
        raise ValueError(
            f"the Dataset: expected images as tensors, got {_kind(first[0])}; give it a transform "
            "such as torchvision.transforms.ToTensor()"
        )
    return DataLoader(data, batch_size=_READ)


def _joined(batches: DataLoader[Any]) -> tuple[Tensor, Tensor]:
    """Return all images and all labels of a loader."""
    pairs = [*_pairs(batches)]
    if not pairs:
        raise ValueError("data: expected at least one image, got none")
    if len({images.shape[1:] for images, _ in pairs}) > 1:
        shapes = sorted({tuple(images.shape[1:]) for images, _ in pairs})
        raise ValueError(f"images: expected one shape, got {shapes[0]} and {shapes[1]}")
    images, labels = zip(*pairs, strict=True)
    return torch.cat(images), torch.cat(labels)


def _pairs(batches: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images and the labels of every batch."""
    for batch in batches:
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise ValueError(f"data: expected batches of images and labels, got {_kind(batch)}")
        yield _tensor(batch[0], "images"), _tensor(batch[1], "labels")


def _tensor(value: Any, what: str) -> Tensor:
    """Return a tensor, array or list of numbers as a tensor of its own."""
    try:
        copied = np.array(value) if isinstance(value, np.ndarray) else value  # any strides
        return torch.as_tensor(copied).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{what}: expected a tensor or array of numbers, got {_kind(value)}"
        ) from None


def _image_set(images: Tensor, labels: Tensor, classes: Sequence[str] | None) -> ImageSet:
    if images.is_floating_point():
        images = _as_bytes(images.to(torch.float32))
    if not labels.is_floating_point() and labels.dtype not in (torch.bool, torch.int64):
        labels = labels.to(torch.int64)
    if classes is None:
        known = labels.ndim == 1 and labels.dtype == torch.int64 and len(labels)
        classes = [str(k) for k in range(int(labels.max()) + 1)] if known else []
    return ImageSet(images, labels, tuple(map(str, classes)))


def _as_bytes(images: Tensor) -> Tensor:
    """Return images as bytes if all values are whole multiples of 1/255, otherwise unchanged."""
    bytes_ = images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    return bytes_ if torch.equal(bytes_.to(torch.float32).div_(255), images) else images


def _kind(value: Any) -> str:
    """Return what something is, in a few words."""
    if isinstance(value, dict):
        return f"a dict with {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
