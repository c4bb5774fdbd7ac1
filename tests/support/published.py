"""Folders in the layout of CIFAR-10-C."""

from pathlib import Path

import numpy as np

from morex.data import ImageSet


def corrupted(test: ImageSet, step: int) -> np.ndarray:
    """Return the test images with ``step * severity`` added to every value, modulo 256."""
    images = test.images.permute(0, 2, 3, 1).numpy()
    return np.concatenate([images + np.uint8(step * s) for s in range(1, 6)])


def published(folder: Path, test: ImageSet, **steps: int) -> Path:
    """Write a folder with a file per name, in which ``steps[name]`` was added, and return it."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "labels.npy", np.tile(test.labels.numpy(), 5).astype(np.uint8))
    for name, step in steps.items():
        np.save(folder / f"{name}.npy", corrupted(test, step))
    return folder
