"""Additional images from a folder of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from morex.data import DataError, ImageSet, load_extra

LIKE = ImageSet(torch.zeros(2, 3, 4, 5, dtype=torch.uint8), torch.tensor([0, 1]), ("cat", "dog"))
PIXELS = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)


def arrays(folder: Path, name: str = "a.npz", **changes: Any) -> Path:
    np.savez(folder / name, **{"image": PIXELS, "label": np.array([0, 1, 1])} | changes)
    return folder


def picture(folder: Path) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (5, 4)).save(folder / "0.png")


def test_arrays_as_generated_images_are_published(tmp_path: Path) -> None:
    arrays(tmp_path)
    arrays(tmp_path, "b.npz", image=PIXELS[:1] + 7, label=np.array([0], dtype=np.int32))
    found = load_extra(tmp_path, LIKE)
    assert found.labels.tolist() == [0, 1, 1, 0]
    assert found.classes == LIKE.classes
    assert found.images[1, 2, 3, 4] == PIXELS[1, 3, 4, 2]
    assert found.images[3, 0, 0, 0] == 7


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image": PIXELS / 255}, "expected image, uint8"),
        ({"label": np.array([0, 1])}, r"and label \(N,\), got uint8 \(3, 4, 5, 3\) and \(2,\)"),
        ({"label": np.array([0.0, 1.0, 1.0])}, "expected whole numbers as labels, got float64"),
        ({"label": np.array([0, 1, 2])}, r"labels: expected values in \[0, 2\)"),
        ({"label": np.array([0, 1, None])}, "cannot be read"),
        ({"image": PIXELS[:, :3]}, r"images of data.extra are \(3, 3, 5\) and training images"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        load_extra(arrays(tmp_path, **changes), LIKE)


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("text")
    with pytest.raises(DataError, match=r"a\.npz: expected the arrays image and label"):
        load_extra(tmp_path, LIKE)
    np.savez(tmp_path / "a.npz", image=PIXELS)
    with pytest.raises(DataError, match="expected the arrays image and label"):
        load_extra(tmp_path, LIKE)


@pytest.mark.parametrize("within", [".", "train"])
def test_class_folders_which_need_not_have_every_class(tmp_path: Path, within: str) -> None:
    picture(tmp_path / within / "dog")
    found = load_extra(tmp_path, LIKE)
    assert (found.labels.tolist(), found.shape) == ([1], (3, 4, 5))
    picture(tmp_path / within / "dag")
    with pytest.raises(DataError, match="no class 'dag'; did you mean 'dog'"):
        load_extra(tmp_path, LIKE)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none of them"):
        load_extra(tmp_path, LIKE)
    with pytest.raises(DataError, match="missing or not a folder"):
        load_extra(tmp_path / "none", LIKE)
