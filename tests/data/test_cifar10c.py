"""Published corruptions: a folder in the layout of CIFAR-10-C."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import corrupted, published

from morex.data import DataError, ImageSet, PublishedCorruptions

N = 12


def test_set() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (N, 3, 6, 5), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(N) % 4, tuple("abcd"))


test_set.__test__ = False  # type: ignore[attr-defined]


def test_images_are_those_of_corruption_severity_and_row(tmp_path: Path) -> None:
    test, rows = test_set(), torch.tensor([7, 0, 11, 3])
    found = PublishedCorruptions.open(published(tmp_path, test, fog=3, jpeg_compression=5), test)
    assert list(found.files) == ["fog", "jpeg_compression"]
    for name, step in (("fog", 3), ("jpeg_compression", 5)):
        for severity in range(1, 6):
            images = found.images(name, severity, rows)
            assert torch.equal(images.images, test.images[rows] + step * severity)
            assert torch.equal(images.labels, test.labels[rows])
            assert images.classes == test.classes


def test_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    test = test_set()
    found = PublishedCorruptions.open(published(tmp_path, test, fog=3), test)
    assert isinstance(found.files["fog"], np.memmap)
    found.images("fog", 2, torch.arange(N)).images.fill_(0)  # a copy: the file stays as it is
    assert np.array_equal(np.load(tmp_path / "fog.npy"), corrupted(test, 3))


def test_hidden_files_are_no_corruptions(tmp_path: Path) -> None:
    folder = published(tmp_path, test_set(), fog=3)
    (folder / "._fog.npy").write_bytes(b"no array")
    assert list(PublishedCorruptions.open(folder, test_set()).files) == ["fog"]


def _save(name: str, array: Any) -> Any:
    return lambda folder: np.save(folder / name, array)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "labels.npy").unlink(), r"expected labels.npy .* found fog.npy"),
        (lambda f: (f / "fog.npy").unlink(), r"a file such as .* found labels.npy"),
        (_save("fog.npy", np.zeros((60, 5, 6, 3), np.uint8)), r"\(60, 6, 5, 3\), got uint8"),
        (_save("fog.npy", np.zeros((12, 6, 5, 3), np.uint8)), r"uint8 \(60,.* got .*\(12,"),
        (_save("fog.npy", np.zeros((60, 6, 5, 3))), "got float64"),
        (_save("fog.npy", np.array([{}])), "fog.npy: not a readable NumPy array"),
        (lambda f: (f / "fog.npy").write_bytes(b"\x93NUMPY"), "fog.npy: not a readable NumPy"),
        (lambda f: (f / "fog.npy").write_bytes(b"PK\x03\x04"), "fog.npy: not a readable NumPy"),
        (lambda f: np.savez(f / "a", a=[1]) or (f / "a.npz").rename(f / "fog.npy"), "fog.npy: not"),
        (lambda f: np.savez(f / "a", a=[1]) or (f / "a.npz").rename(f / "labels.npy"), "not a"),
        (_save("labels.npy", np.zeros(12, np.uint8)), r"expected 60 integers.* got uint8 \(12,"),
        (_save("labels.npy", np.zeros(60)), "got float64"),
        (_save("labels.npy", np.zeros(60, np.uint8)), "label 1 is 0, but test image 1 has .* 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    folder = published(tmp_path, test_set(), fog=3)
    damage(folder)
    with pytest.raises(DataError, match=message):
        PublishedCorruptions.open(folder, test_set())


def test_a_label_that_differs_at_the_last_severity_is_seen(tmp_path: Path) -> None:
    folder = published(tmp_path, test_set(), fog=3)
    labels = np.load(folder / "labels.npy")
    labels[4 * N + 5] = 3
    np.save(folder / "labels.npy", labels)
    with pytest.raises(DataError, match="label 53 is 3, but test image 5 has label 1"):
        PublishedCorruptions.open(folder, test_set())


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        PublishedCorruptions.open(tmp_path / "nowhere", test_set())
    found = PublishedCorruptions.open(published(tmp_path, test_set(), fog=3), test_set())
    with pytest.raises(DataError, match="no corruption 'frost'; there are fog"):
        found.images("frost", 1, torch.arange(2))
    with pytest.raises(DataError, match="expected a number from 1 to 5, got 6"):
        found.images("fog", 6, torch.arange(2))
