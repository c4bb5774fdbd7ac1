import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from morex.data import Data, DataError, ImageSet, load_data
from morex.data.download import KNOWN


def make(
    folder: Path, classes: int = 2, grey: int = 0, splits: tuple[str, ...] = ("train", "test")
):
    """Class folders with one picture in each; the split's place in ``splits`` adds to ``grey``."""
    for place, split in enumerate(splits):
        for label in range(classes):
            path = folder / split / f"{label:03}" / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("L", (2, 2), grey + place).save(path)
    return folder


def grey(data: Data) -> int:
    return int(data.train.images[0, 0, 0, 0])


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("MOREX_DATA", raising=False)


def test_importing_the_data_layer_is_cheap():
    heavy = ["sklearn", "pyarrow", "huggingface_hub"]
    code = f"import sys, morex.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_folder_comes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MOREX_DATA", str(make(tmp_path / "b", grey=9)))
    assert grey(load_data("mine", make(tmp_path / "a", grey=5))) == 5


def test_the_folder_holds_the_data_or_is_around_it(tmp_path):
    make(tmp_path, grey=5)
    assert grey(load_data("mine", tmp_path)) == 5
    make(tmp_path / "mine", grey=9)
    assert grey(load_data("mine", tmp_path)) == 9


def test_the_environment_names_the_data_or_the_folder_around_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MOREX_DATA", str(make(tmp_path, grey=5)))
    assert grey(load_data("mine")) == 5
    make(tmp_path / "mine", grey=9)
    assert grey(load_data("mine")) == 9


def test_the_environment_is_not_searched_for_other_data(tmp_path, monkeypatch):
    make(tmp_path / "other", grey=9)
    monkeypatch.setenv("MOREX_DATA", str(tmp_path))
    with pytest.raises(DataError, match="unknown data set 'mine'"):
        load_data("mine")


def test_a_home_folder_is_understood(tmp_path, monkeypatch):
    make(tmp_path / "mine", grey=5)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert grey(load_data("mine", Path("~/mine"))) == 5


def test_missing_folders_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="nowhere: the folder of 'mine' is missing"):
        load_data("mine", tmp_path / "nowhere")
    monkeypatch.setenv("MOREX_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere: the folder that MOREX_DATA names is missing"):
        load_data("mine")


def test_a_folder_with_nothing_of_use_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"expected train.parquet .* found neither; rename the fil"):
        load_data("mine", tmp_path)
    (tmp_path / "train (copy).parquet").touch()
    with pytest.raises(DataError, match=r"found only train \(copy\).parquet; rename the files"):
        load_data("mine", tmp_path)


def test_a_folder_with_one_split_is_refused(tmp_path):
    make(tmp_path, splits=("train",))
    with pytest.raises(DataError, match="no split to test on, found train; add one called test"):
        load_data("mine", tmp_path)


def test_unknown_names_list_the_known_ones(tmp_path, monkeypatch):
    for _ in range(2):
        with pytest.raises(
            DataError, match="'mine': use one of digits, cifar10, tiny-imagenet-200"
        ):
            load_data("mine")
        monkeypatch.setenv("MOREX_DATA", str(tmp_path))  # exists, and holds nothing


def test_data_under_a_known_name_must_be_that_data(tmp_path):
    with pytest.raises(DataError, match="cifar10 has 10 classes, but this data has 2"):
        load_data("cifar10", make(tmp_path / "two"))
    assert len(load_data("cifar10", make(tmp_path / "ten", classes=10)).test) == 10


def test_tiny_imagenet_is_tested_on_its_validation_split(tmp_path):
    make(tmp_path, classes=200, splits=("train", "test", "val"))
    assert load_data("mine", tmp_path).test.images.unique().tolist() == [1]
    assert load_data("tiny-imagenet-200", tmp_path).test.images.unique().tolist() == [2]


def test_known_names_are_downloaded_once(tmp_path, monkeypatch):
    calls = []

    def snapshot(repository, *, repo_type, allow_patterns, local_files_only):
        calls.append((repository, repo_type, local_files_only))
        if not local_files_only:
            for pattern in allow_patterns:
                path = tmp_path / pattern.replace("*", "00000-of-00001")
                path.parent.mkdir(exist_ok=True)
                path.touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    for _ in range(2):  # the first time, the cache is there but incomplete
        with pytest.raises(DataError, match=r"plain_text/train-00000-of-00001.parquet"):
            load_data("cifar10")  # the files are empty: it did get to read them
    repository = KNOWN["cifar10"].repository
    assert calls == [(repository, "dataset", local) for local in (True, False, True)]


def test_an_incomplete_download_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(DataError, match=r"cannot be downloaded .*\(FileNotFoundError\)"):
        load_data("cifar10")


@pytest.mark.parametrize("name", KNOWN)
def test_no_network_is_reported_at_once(name, tmp_path, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    begin = time.monotonic()
    with pytest.raises(DataError, match=f"{name}: .* cannot be downloaded .* MOREX_DATA") as caught:
        load_data(name)
    assert time.monotonic() - begin < 5
    assert "\n" not in str(caught.value)


def test_data_refuses_sides_that_do_not_fit():
    images, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    train = ImageSet(images, labels, ("a", "b"))
    with pytest.raises(DataError, match="different classes"):
        Data("mine", train, ImageSet(images, labels, ("a", "c")))
    with pytest.raises(DataError, match=r"\(3, 4, 4\) and test images \(3, 2, 4\)"):
        Data("mine", train, ImageSet(images[:, :, :2], labels, ("a", "b")))
