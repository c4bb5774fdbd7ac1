"""A few test images, without the rest of the data."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import pictures
from PIL import Image

from morex.data import DataError, load_data
from morex.data.load import few_test_images
from morex.data.splits import test_order as order_of_tests


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def shards(folder: Path) -> Path:
    """Write a train file, and two test files with a picture of random pixels for each row."""
    files = {"train": 4, "test-00000-of-00002": 5, "test-00001-of-00002": 6}
    for seed, (name, count) in enumerate(files.items()):
        contents = [png(100 * seed + row) for row in range(count)]
        labels = [row % 2 for row in range(count)]
        pq.write_table(pa.table({"img": contents, "label": labels}), folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("make", [None, shards, pictures])
def test_they_are_the_first_that_a_run_attacks(make, tmp_path: Path) -> None:
    name, folder = ("mine", make(tmp_path)) if make else ("digits", None)
    test = load_data(name, folder).test
    rows, few = few_test_images(name, 5, folder)
    assert rows == order_of_tests(len(test))[:5].tolist()
    assert torch.equal(few.images, test.images[rows])
    assert torch.equal(few.labels, test.labels[rows])
    assert few.classes == test.classes


def test_other_images_are_not_decoded(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"broken")
    rows, _ = few_test_images("mine", 2, tmp_path)
    for path in tmp_path.glob("test-*"):
        table = pq.read_table(path).to_pydict()
        first = 0 if "00000" in path.name else 5
        table["img"] = [
            content if first + k in rows else b"broken" for k, content in enumerate(table["img"])
        ]
        pq.write_table(pa.table(table), path)
    assert few_test_images("mine", 2, tmp_path)[0] == rows
    with pytest.raises(DataError, match="cannot be decoded"):
        few_test_images("mine", 3, tmp_path)


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOREX_DATA", str(tmp_path))
    monkeypatch.setattr("morex.data.load.download", lambda name: pytest.fail("a download"))
    with pytest.raises(DataError, match="unknown data set 'cifar10'"):
        few_test_images("cifar10", 2)
