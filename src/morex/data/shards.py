"""Finds the parquet files of a data set by their names, and checks that no shard is missing."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from morex.data.errors import DataError
from morex.data.hidden import is_hidden
from morex.data.splits import as_split

Shards = dict[str, list[Path]]
"""The parquet files of each split, in order."""

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_STEM = re.compile(
    # train, train-0000, train-00000-of-00002, and the latter with the hub's checksum
    r"(?P<set>.*?)(?:[-_.]?(?P<number>\d+)(?:-of-(?P<total>\d+)(?:-[0-9a-f]{4,})?"
    # part-00000-UUID-c000.snappy, as Spark writes it
    rf"|-(?P<job>{_UUID})(?:-c\d+)?(?:\.\w+)?)?)?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class _File:
    """A parquet file, and what its name says: its split, its set of shards and its number there."""

    path: Path
    split: str | None
    set_name: str
    number: int | None
    total: int | None

    @classmethod
    def named(cls, path: Path) -> Self:
        match = _STEM.fullmatch(path.stem)
        assert match is not None  # every name matches
        number, total = (int(match[part]) if match[part] else None for part in ("number", "total"))
        split = as_split(match["set"]) or as_split(path.parent.name)
        return cls(path, split, match["set"] + (match["job"] or ""), number, total)


def find_shards(folder: Path) -> Shards:
    """Return the parquet files of each split in ``folder``, at most two folders down.

    The name of a file without its shard number is the name of its split
    (train-00000-of-00002.parquet, train-0000.parquet, train.parquet), or otherwise the name of its
    folder is (train/0000.parquet). Other files are ignored. Without such files the result is empty.

    Raises:
        DataError: if a split is in several folders, or its files are not exactly the shards of one
            set.
    """
    splits: dict[str, list[_File]] = {}
    for path in parquet_files(folder):
        file = _File.named(path)
        if file.split is not None:
            splits.setdefault(file.split, []).append(file)
    for split, files in splits.items():
        _check_folder(split, files)
        _check_set(split, files)
        _check_numbers(split, files)
    return {split: [file.path for file in files] for split, files in splits.items()}


def parquet_files(folder: Path) -> list[Path]:
    """Return all parquet files in ``folder``, at most two folders down, but no hidden ones."""
    patterns = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
    paths = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return [path for path in paths if not is_hidden(path, folder)]


def _check_folder(split: str, files: Sequence[_File]) -> None:
    folders = sorted({str(file.path.parent) for file in files})
    if len(folders) > 1:
        raise DataError(
            f"{' and '.join(folders)}: each has a {split!r} split; name one of them as the folder"
        )


def _check_set(split: str, files: Sequence[_File]) -> None:
    """Raise if two files cannot be shards of one set."""
    first = files[0]
    for file in files[1:]:
        same = (file.set_name, file.total) == (first.set_name, first.total)
        if not same or file.number is None or first.number is None:
            raise DataError(
                f"{first.path.parent}: {first.path.name} and {file.path.name} both belong to the "
                f"{split!r} split, but are not shards of one set; remove or rename one of them"
            )


def _check_numbers(split: str, files: Sequence[_File]) -> None:
    """Raise if a shard is there twice or is missing; they are counted from 0 or from 1."""
    numbers = [file.number for file in files if file.number is not None]
    if not numbers:
        return
    _check_unique(split, files)
    total = files[0].total or max(numbers) + (0 in numbers)
    start = int(0 not in numbers and total in numbers)
    expected = range(start, start + total)
    missing = next((number for number in expected if number not in numbers), None)
    if missing is not None or len(numbers) > total:
        problem = f"number {missing} is missing" if missing is not None else "there are more"
        raise DataError(
            f"{files[0].path.parent}: expected shards {start} to {start + total - 1} of the "
            f"{split!r} split, but {problem}, found {_listed(files)}; download it again, or name "
            f"a single file {split}.parquet"
        )


def _check_unique(split: str, files: Sequence[_File]) -> None:
    number, times = Counter(file.number for file in files).most_common(1)[0]
    if times > 1:
        twice = [file for file in files if file.number == number]
        raise DataError(
            f"{files[0].path.parent}: {_listed(twice)} are all shard {number} of the {split!r} "
            "split; keep one of them"
        )


def _listed(files: Sequence[_File], most: int = 5) -> str:
    """Return the names of the files, but no more than ``most`` of them."""
    names = ", ".join(file.path.name for file in files[:most])
    return f"{names} and {len(files) - most} more" if len(files) > most else names
