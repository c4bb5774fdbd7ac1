"""Which parquet files belong to which split, by their names alone."""

from pathlib import Path

import pytest

from morex.data import DataError
from morex.data.shards import find_shards

UUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


def there(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path) -> dict[str, list[str]]:
    shards = find_shards(folder)
    return {s: [path.relative_to(folder).as_posix() for path in shards[s]] for s in shards}


@pytest.mark.parametrize(
    "names",
    [
        ["train.parquet"],
        ["Train.parquet"],
        ["train-0.parquet"],
        ["train-0000.parquet", "train-0001.parquet"],
        ["train_1.parquet", "train_2.parquet"],
        ["train-00000-of-00001.parquet"],
        ["train-00000-of-00002-0a1b2c3d4e5f6071.parquet", "train-00001-of-00002-ffee.parquet"],
        ["train-1-of-2.parquet", "train-2-of-2.parquet"],
        ["data/train-00000-of-00001.parquet"],
        ["plain/text/train.parquet"],
        ["train/0000.parquet", "train/0001.parquet"],
        ["train/anything.parquet"],
        ["train/part-0.parquet", "train/part-1.parquet"],
        [f"train/part-0000{k}-{UUID}-c000.snappy.parquet" for k in range(2)],
        ["big/Train/part.0.parquet"],
    ],
)
def test_whole_names_say_the_split(tmp_path, names):
    assert found(there(tmp_path, *names)) == {"train": names}


@pytest.mark.parametrize(
    "name",
    [
        "train (copy).parquet",
        "train_noisy.parquet",
        "train-clean-00000-of-00001.parquet",
        "train-00000-of-00001 (1).parquet",
        "train-00000-of-00001-backup.parquet",
        "training.parquet",
        ".train.parquet",
        ".trash/train.parquet",
        "__MACOSX/train.parquet",
        "train/.ipynb_checkpoints/0.parquet",
        "train-old/0000.parquet",
        "test-noisy/0000.parquet",
    ],
)
def test_other_files_do_not_join_a_split(tmp_path, name):
    there(tmp_path, "train.parquet", "test.parquet", name)
    assert found(tmp_path) == {"train": ["train.parquet"], "test": ["test.parquet"]}


@pytest.mark.parametrize("split", ["train", "test", "validation", "valid", "val"])
def test_every_split_is_found(tmp_path, split):
    assert found(there(tmp_path, f"{split}-0.parquet")) == {split: [f"{split}-0.parquet"]}


def test_hidden_folders_above_do_not_count(tmp_path):
    folder = there(tmp_path / ".cache" / "hub", "train.parquet")
    assert found(folder) == {"train": ["train.parquet"]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train-0000.parquet", "train.parquet"),
        ("train-00000-of-00001.parquet", "train.parquet"),
        ("Train.parquet", "train.parquet"),
        ("train-00000-of-00002.parquet", "train-00001-of-00003.parquet"),
        ("train/0000.parquet", "train/0001 (copy).parquet"),
        ("train/a.parquet", "train/b.parquet"),
        (f"train/part-0-{UUID}.parquet", f"train/part-1-{UUID[:-1]}9.parquet"),
    ],
)
def test_files_of_two_sets_are_refused(tmp_path, first, second):
    there(tmp_path, first, second)
    with pytest.raises(DataError) as caught:
        find_shards(tmp_path)
    message = str(caught.value)
    assert Path(first).name in message
    assert Path(second).name in message
    assert "'train' split, but are not shards of one set; remove or rename" in message


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["val-00001-of-00002"], "shards 0 to 1 of the 'val' split, but number 0 is missing"),
        (
            ["val-00000-of-00003", "val-00002-of-00003"],
            "shards 0 to 2 .* number 1 is missing, found val-00000-of-00003.parquet, val-00002-of",
        ),
        (["val-1-of-3", "val-2-of-3"], "shards 0 to 2 .* number 0 is missing"),
        (["val-1-of-3", "val-3-of-3"], "shards 1 to 3 .* number 2 is missing"),
        (["val-0-of-1", "val-1-of-1"], "shards 0 to 0 .* there are more, found val-0-of-1"),
        (["val-0000", "val-0002"], "shards 0 to 2 .* number 1 is missing"),
        (["val-2014"], "shards 1 to 2014 .* number 1 is missing, .* a single file val.parquet"),
        (["val-0-of-999999999999999999999"], "number 1 is missing"),
        (
            ["val-00000-of-00002-aaaa", "val-00000-of-00002-bbbb"],
            "val-00000-of-00002-aaaa.parquet, val-00000-of-00002-bbbb.parquet are all shard 0 of",
        ),
        (["val-1", "val-01"], "val-01.parquet, val-1.parquet are all shard 1 of the 'val' split"),
    ],
)
def test_missing_and_duplicated_shards_are_refused(tmp_path, names, problem):
    there(tmp_path, *(f"{name}.parquet" for name in names))
    with pytest.raises(DataError, match=problem):
        find_shards(tmp_path)


def test_long_lists_of_files_are_cut(tmp_path):
    there(tmp_path, *(f"train-{number}-of-10.parquet" for number in range(9)))
    with pytest.raises(DataError, match=r"train-4-of-10.parquet and 4 more; download"):
        find_shards(tmp_path)
