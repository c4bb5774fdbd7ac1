"""Finds a data set by its name, reads it and checks it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from morex.core.near import did_you_mean
from morex.data.digits import load_digits
from morex.data.download import KNOWN, download
from morex.data.errors import DataError
from morex.data.folders import find_class_folders, read_class_folders, read_few_of_folders
from morex.data.images import ImageSet
from morex.data.opened import RESIZE
from morex.data.parquet import read_few, read_shards
from morex.data.shards import find_shards, parquet_files
from morex.data.splits import TEST_NAMES, TRAIN, choose_test, test_order

EMBEDDED = "digits"
ENVIRONMENT = "MOREX_DATA"


@dataclass(frozen=True)
class Data:
    """Training and test images of one shape and with the same classes.

    Raises:
        DataError: if shapes or classes differ.
    """

    name: str
    train: ImageSet
    test: ImageSet

    def __post_init__(self) -> None:
        """Check that shapes and classes agree."""
        if self.train.shape != self.test.shape:
            raise DataError(
                f"{self.name}: train images are {self.train.shape} and test images "
                f"{self.test.shape}; {RESIZE}"
            )
        if self.train.classes != self.test.classes:
            raise DataError(
                f"{self.name}: train and test have different classes; give them the same"
            )


def load_data(
    name: str,
    folder: Path | None = None,
    *,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Data:
    """Return a data set, on the CPU.

    "digits" comes with scikit-learn. Any other data set is read from ``folder``, or from the folder
    that the environment variable MOREX_DATA names: from its subfolder ``name`` if there is one,
    otherwise from the folder itself. If neither is given, well-known data sets are downloaded.

    The folder holds parquet files as on the Hugging Face hub, or class folders. The test set is the
    test split, or the validation split if there is no test split.

    Args:
        name: "digits", "cifar10", "tiny-imagenet-200", or your own name for ``folder``.
        folder: the folder that holds the data.
        image_size: the height and width, in pixels, to which the largest centred square of every
            image is resized; by default images are used as they are.
        image_column: the parquet column with the images, if several could be it.
        label_column: the parquet column with the labels, if several could be it.

    Raises:
        DataError: if there is no such data set, or it cannot be used.
    """
    options = {
        "folder": folder,
        "image_size": image_size,
        "image_column": image_column,
        "label_column": label_column,
    }
    if name == EMBEDDED:
        _refuse(options, f"{EMBEDDED} comes with scikit-learn, in 8x8 pixels")
        return Data(name, *load_digits())
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size: expected pixels >= 1, got {image_size}")
    found = _find_folder(name, folder)
    data = Data(name, *_read(name, found, image_size, image_column, label_column))
    _check_classes(data, found)
    return data


def few_test_images(
    name: str,
    count: int,
    folder: Path | None = None,
    *,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> tuple[list[int], ImageSet]:
    """Return the first ``count`` test images in the order of tests, with their places in the data.

    The other images are not decoded, and training images are not read at all. Nothing is
    downloaded.

    Args:
        name, folder, image_size, image_column, label_column: as for ``load_data``.
        count: how many; all if there are fewer.

    Raises:
        DataError: if there is no such data set, or these images cannot be used.
    """
    if name == EMBEDDED:
        _, test = load_digits()
        rows = test_order(len(test))[:count]
        return rows.tolist(), test.take(rows)
    found = _find_folder(name, folder, download_it=False)
    wanted = KNOWN[name].test_names if name in KNOWN else TEST_NAMES
    if shards := find_shards(found):
        columns = {"image_column": image_column, "label_column": label_column}
        test_files = shards[choose_test(shards, found, wanted)]
        rows, images = read_few(test_files, count, image_size=image_size, **columns)
    elif folders := find_class_folders(found):
        test_folder = folders[choose_test(folders, found, wanted)]
        rows, images = read_few_of_folders(
            folders[TRAIN], test_folder, count, image_size=image_size
        )
    else:
        raise _no_data(found)
    return rows.tolist(), images


def _refuse(options: Mapping[str, object], because: str) -> None:
    """Raise if an option is set that has no effect here."""
    useless = [name for name, value in options.items() if value is not None]
    if useless:
        raise DataError(f"{because}: remove the option(s) {', '.join(useless)}")


def _find_folder(name: str, folder: Path | None, *, download_it: bool = True) -> Path:
    if folder is not None:
        place = _existing(folder.expanduser(), f"the folder of {name!r}")
        return place / name if (place / name).is_dir() else place
    if root := os.environ.get(ENVIRONMENT):
        place = _existing(Path(root).expanduser(), f"the folder that {ENVIRONMENT} names")
        if (place / name).is_dir():
            return place / name
        # find_shards looks two folders down, where another data set may be
        if [*place.glob("*.parquet"), *place.glob("data/*.parquet")] or find_class_folders(place):
            return place
    if name in KNOWN and download_it:
        return download(name)
    known = [EMBEDDED, *KNOWN]
    raise DataError(
        f"unknown data set {name!r}: {did_you_mean(name, known)}use one of {', '.join(known)}, or "
        "name the folder that holds it with the option data.folder or the environment variable "
        f"{ENVIRONMENT}"
    )


def _existing(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        raise DataError(
            f"{folder}: {what} is missing or not a folder; correct the path, or name the folder "
            "with --data (in recipes: data.folder)"
        )
    return folder


def _read(
    name: str,
    folder: Path,
    image_size: int | None,
    image_column: str | None,
    label_column: str | None,
) -> tuple[ImageSet, ImageSet]:
    test_names = KNOWN[name].test_names if name in KNOWN else TEST_NAMES
    if shards := find_shards(folder):
        test = choose_test(shards, folder, test_names)
        return read_shards(
            shards[TRAIN],
            shards[test],
            image_size=image_size,
            image_column=image_column,
            label_column=label_column,
        )
    columns = {"image_column": image_column, "label_column": label_column}
    if folders := find_class_folders(folder):
        _refuse(columns, f"{folder} holds class folders, which have no columns")
        test = choose_test(folders, folder, test_names)
        return read_class_folders(folders[TRAIN], folders[test], image_size=image_size)
    raise _no_data(folder)


def _no_data(folder: Path) -> DataError:
    return DataError(
        f"{folder}: expected train.parquet and test.parquet (or numbered shards such as "
        "train-00000-of-00002.parquet), or pictures in train/<class>/ and test/<class>/; found "
        f"{_other_parquet(folder)}; rename the files or correct the path"
    )


def _other_parquet(folder: Path) -> str:
    names = [str(path.relative_to(folder)) for path in parquet_files(folder)]
    return f"only {', '.join(names[:5])}" if names else "neither"


def _check_classes(data: Data, folder: Path) -> None:
    classes = data.train.classes
    if data.name in KNOWN and len(classes) != KNOWN[data.name].classes:
        raise DataError(
            f"{folder}: {data.name} has {KNOWN[data.name].classes} classes, but this data has "
            f"{len(classes)}; give the right folder, or give the data another name"
        )
    counts = torch.bincount(data.train.labels, minlength=len(classes))
    if not counts.all():
        empty = classes[int(counts.argmin())]
        raise DataError(
            f"{folder}: no train image has class {empty!r}; add some or remove the class"
        )
