"""Published corruptions of a test set, in the layout of CIFAR-10-C.

A folder holds ``labels.npy`` and one file for each corruption, such as ``gaussian_noise.npy``:
uint8 of shape (5 n, H, W, 3), the n test images in their order at severity 1, then at severity 2,
and so on up to 5 (Hendrycks & Dietterich 2019). The files are mapped into memory, and only the
images that are used are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from morex.core.near import not_among
from morex.data.errors import DataError
from morex.data.hidden import is_hidden
from morex.data.images import ImageSet
from morex.data.opened import require_regular

SEVERITIES = (1, 2, 3, 4, 5)
_LABELS = "labels.npy"


@dataclass(frozen=True, eq=False)
class PublishedCorruptions:
    """The files of a folder, checked against the test set from which they were made."""

    test: ImageSet
    files: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path, test: ImageSet) -> Self:
        """Check all files of ``folder`` and map them into memory.

        Args:
            folder: the folder with one file per corruption, and the labels.
            test: the whole test set, in its published order.

        Raises:
            DataError: if a file is missing, unreadable or of the wrong shape, or if the labels are
                not those of the test set.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; correct the path")
        paths = sorted(
            path
            for path in folder.glob("*.npy")
            if path.name != _LABELS and not is_hidden(path, folder)
        )
        if not paths or not (folder / _LABELS).is_file():
            there = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
            raise DataError(
                f"{folder}: expected {_LABELS} and a file such as gaussian_noise.npy for every "
                f"corruption, found {there}; name the unpacked folder of CIFAR-10-C"
            )
        _check_labels(folder / _LABELS, test)
        return cls(test, {path.stem: _images(path, test) for path in paths})

    def images(
        self, corruption: str, severity: int, rows: Tensor, device: torch.device | None = None
    ) -> ImageSet:
        """Return the corrupted versions of some test images.

        Args:
            corruption: the name of a file, without its suffix.
            severity: from 1 to 5.
            rows: the indices of the test images, int64 (n,).
            device: where to put them; by default the device of the test set.

        Raises:
            DataError: if there is no such corruption or severity.
        """
        if corruption not in self.files:
            raise DataError(not_among("corruption", corruption, self.files))
        if severity not in SEVERITIES:
            raise DataError(f"severity: expected a number from 1 to 5, got {severity}")
        chosen = rows.cpu() + (severity - 1) * len(self.test)
        # read in the order of the file, which spares the disk from seeking
        order = chosen.argsort()
        read = torch.from_numpy(self.files[corruption][chosen[order].numpy()])
        pixels = read[order.argsort()].permute(0, 3, 1, 2).contiguous()
        labels = self.test.labels.cpu()[rows.cpu()]
        return ImageSet(pixels, labels, self.test.classes).to(device or self.test.device)


def _check_labels(path: Path, test: ImageSet) -> None:
    labels, expected = _mapped(path), test.labels.cpu().numpy()
    count = len(SEVERITIES) * len(expected)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: expected {count} integers, five for each of the {len(expected)} test images, "
            f"got {labels.dtype} {labels.shape}"
        )
    wrong = np.flatnonzero(labels.reshape(len(SEVERITIES), -1) != expected)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{path}: label {row} is {labels[row]}, but test image {row % len(expected)} has label "
            f"{expected[row % len(expected)]}; both must be the same test set in the same order"
        )


def _images(path: Path, test: ImageSet) -> Any:
    images = _mapped(path)
    channels, height, width = test.shape
    expected = (len(SEVERITIES) * len(test), height, width, channels)
    if images.dtype != np.uint8 or images.shape != expected:
        raise DataError(f"{path}: expected uint8 {expected}, got {images.dtype} {images.shape}")
    return images


def _mapped(path: Path) -> Any:
    try:
        require_regular(path)
        return np.lib.format.open_memmap(path, mode="r")  # not np.load, which reads archives too
    except Exception as error:  # numpy raises many kinds for damaged bytes
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path}: not a readable NumPy array ({reason}); copy or download it again"
        ) from error
