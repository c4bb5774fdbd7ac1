"""Additional labelled images for training, such as generated ones, from a folder of their own."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from morex.core.near import not_among
from morex.core.units import listed
from morex.data.errors import DataError
from morex.data.folders import class_names, read_split_folder
from morex.data.images import ImageSet
from morex.data.opened import require_regular
from morex.data.parquet import read_split_shards
from morex.data.shards import find_shards
from morex.data.splits import TRAIN


def load_extra(
    folder: Path,
    like: ImageSet,
    *,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageSet:
    """Return the additional images of a folder, on the CPU.

    The folder holds one of these:

    - ``*.npz`` files with ``image``, uint8 (N, H, W, C), and ``label``, (N,), as generated images
      are published (Wang et al. 2023);
    - a train split in parquet files, as for ``load_data``;
    - class folders, in the folder itself or in its folder ``train``.

    Labels may be those of another network (pseudo-labels).

    Args:
        folder: where they are.
        like: the training images, whose shape and classes they have.
        image_size, image_column, label_column: as for ``load_data``.

    Raises:
        DataError: if there are none, or they cannot be used with the training images.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: the folder of data.extra is missing or not a folder")
    if arrays := sorted(folder.glob("*.npz")):
        found = _read_arrays(arrays, like)
    elif shards := find_shards(folder):
        if TRAIN not in shards:
            names = listed(sorted(shards))
            raise DataError(f"{folder}: data.extra needs train*.parquet, found {names}")
        found = read_split_shards(
            shards[TRAIN],
            image_size=image_size,
            image_column=image_column,
            label_column=label_column,
        )
    else:
        found = _read_folders(folder, like.classes, image_size)
    _check(folder, found, like)
    return found


def _read_folders(folder: Path, classes: tuple[str, ...], image_size: int | None) -> ImageSet:
    split = folder / TRAIN if (folder / TRAIN).is_dir() else folder
    names = class_names(split)
    if not names:
        raise DataError(
            f"{folder}: expected *.npz with image and label, train*.parquet, or class folders; "
            "found none of them"
        )
    if unknown := [name for name in names if name not in classes]:
        raise DataError(f"{split}: {not_among('class', unknown[0], classes)}")
    return read_split_folder(split, classes, image_size)


def _read_arrays(paths: list[Path], like: ImageSet) -> ImageSet:
    images, labels = zip(*(_arrays(path) for path in paths), strict=True)
    pixels = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).contiguous()
    try:
        return ImageSet(pixels, torch.from_numpy(np.concatenate(labels)), like.classes)
    except ValueError as error:
        raise DataError(f"{paths[0].parent}: {error}") from error


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (N, H, W, C) and labels (N,) of a file; nothing in it is unpickled."""
    try:
        require_regular(path)
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["image"], file["label"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: expected the arrays image and label; it cannot be read ({reason})"
        ) from error
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}: expected image, uint8 (N, H, W, C), and label (N,), got {images.dtype} "
            f"{images.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: expected whole numbers as labels, got {labels.dtype}")
    return images, labels.astype(np.int64)


def _check(folder: Path, found: ImageSet, like: ImageSet) -> None:
    if found.shape != like.shape:
        raise DataError(
            f"{folder}: images of data.extra are {found.shape} and training images {like.shape}; "
            "give all the same size (data.image_size resizes both)"
        )
    if found.classes != like.classes:
        raise DataError(
            f"{folder}: data.extra has other classes than the training images: "
            f"{listed(found.classes[:5])}, expected {listed(like.classes[:5])}"
        )
