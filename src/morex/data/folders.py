"""Data sets in class folders: <root>/<split>/<class>/<picture>."""

from pathlib import Path

import torch

from morex.core.near import did_you_mean
from morex.data.decode import decode_all
from morex.data.errors import DataError
from morex.data.hidden import is_hidden
from morex.data.images import ImageSet
from morex.data.splits import TEST_NAMES, TRAIN, test_order

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""The suffixes of pictures, in lower or upper case; other and hidden files are ignored."""


def find_class_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split that ``root`` has."""
    return {name: root / name for name in (TRAIN, *TEST_NAMES) if (root / name).is_dir()}


def read_class_folders(
    train: Path, test: Path, *, image_size: int | None = None
) -> tuple[ImageSet, ImageSet]:
    """Return the (train, test) images; the classes are the sorted folder names in ``train``.

    The first images of all classes come first, then the second ones, and so on: any first n images
    are spread evenly over the classes.

    Raises:
        DataError: if there are no classes, ``test`` has a class that ``train`` lacks, or an image
            cannot be used.
    """
    classes = class_names(train)
    if not classes:
        raise DataError(
            f"{train}: no class folders here; put the pictures into one folder for each class"
        )
    unknown = sorted(set(class_names(test)) - set(classes))
    if unknown:
        raise DataError(
            f"{test / unknown[0]}: {train} has no such class; {did_you_mean(unknown[0], classes)}"
            "rename or remove this folder, or add the class"
        )
    return read_split_folder(train, classes, image_size), read_split_folder(
        test, classes, image_size
    )


def read_few_of_folders(
    train: Path, test: Path, count: int, *, image_size: int | None = None
) -> tuple[torch.Tensor, ImageSet]:
    """Return the first ``count`` test images in the order of tests, and their places.

    No others are decoded.

    Raises:
        DataError: as for ``read_class_folders``.
    """
    classes = class_names(train)
    numbered = _numbered(test, classes)
    rows = test_order(len(numbered))[:count]
    chosen = [numbered[row] for row in rows.tolist()]
    return rows, _decoded(chosen, classes, image_size)


def class_names(split: Path) -> tuple[str, ...]:
    """Return the names of the class folders of a split, sorted."""
    folders = (path for path in split.iterdir() if path.is_dir() and not is_hidden(path, split))
    return tuple(sorted(path.name for path in folders))


def read_split_folder(split: Path, classes: tuple[str, ...], image_size: int | None) -> ImageSet:
    """Return the images of one split; those in folders that are no class are left out.

    Raises:
        DataError: if there are none, or an image cannot be used.
    """
    return _decoded(_numbered(split, classes), classes, image_size)


def _numbered(split: Path, classes: tuple[str, ...]) -> list[tuple[int, int, Path]]:
    """Return the pictures of a split in their order: place in the class, label, file."""
    numbered = [
        (place, label, path)
        for label, name in enumerate(classes)
        for place, path in enumerate(_picture_files(split / name))
    ]
    if not numbered:
        raise DataError(
            f"{split}: no pictures in its class folders; expected files with the suffixes "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return sorted(numbered)


def _decoded(
    numbered: list[tuple[int, int, Path]], classes: tuple[str, ...], image_size: int | None
) -> ImageSet:
    images = decode_all(((str(path), path) for *_, path in numbered), len(numbered), image_size)
    return ImageSet(images, torch.tensor([label for _, label, _ in numbered]), classes)


def _picture_files(folder: Path) -> list[Path]:
    pictures = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in pictures if path.is_file() and not is_hidden(path, folder))
