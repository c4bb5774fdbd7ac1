"""Downloads well-known data sets from the Hugging Face hub, each once."""

from dataclasses import dataclass
from pathlib import Path

from morex.data.errors import DataError
from morex.data.shards import find_shards
from morex.data.splits import TEST_NAMES, VALIDATION_NAMES


@dataclass(frozen=True)
class HubData:
    """A data set on the hub.

    Attributes:
        repository: its name there.
        files: patterns of its parquet files; each must match at least one.
        classes: the number of its classes, also in a local copy.
        test_names: the splits that the literature uses as its test set.
    """

    repository: str
    files: tuple[str, ...]
    classes: int
    test_names: tuple[str, ...] = TEST_NAMES


KNOWN = {
    "cifar10": HubData(
        "uoft-cs/cifar10", ("plain_text/train-*.parquet", "plain_text/test-*.parquet"), 10
    ),
    # the test labels of this one were never published
    "tiny-imagenet-200": HubData(
        "zh-plus/tiny-imagenet",
        ("data/train-*.parquet", "data/valid-*.parquet"),
        200,
        VALIDATION_NAMES,
    ),
}
"""Data sets that need no folder, by name."""


def download(name: str) -> Path:
    """Return the folder with the parquet files of ``KNOWN[name]``, downloading them if needed.

    The hub's client keeps them in its cache. Once they are there, no network is needed.

    Raises:
        DataError: if they are not in the cache and cannot be downloaded.
    """
    source = KNOWN[name]
    return _cached(source) or _downloaded(name, source)


def _cached(source: HubData) -> Path | None:
    try:
        folder = _snapshot(source, local_files_only=True)
    except FileNotFoundError:
        return None
    return folder if _complete(folder, source) else None  # a download may have been interrupted


def _downloaded(name: str, source: HubData) -> Path:
    try:
        folder = _snapshot(source)
        if not _complete(folder, source):
            raise FileNotFoundError(f"{folder} lacks some of {source.files}")
    except Exception as error:  # its type depends on the version of the hub's client
        raise DataError(
            f"{name}: {source.repository} cannot be downloaded from huggingface.co "
            f"({type(error).__name__}); connect to the network, or name a local copy with the "
            "option data.folder or the environment variable MOREX_DATA"
        ) from error
    return folder


def _snapshot(source: HubData, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        source.repository,
        repo_type="dataset",
        allow_patterns=list(source.files),
        local_files_only=local_files_only,
    )
    return Path(folder)


def _complete(folder: Path, source: HubData) -> bool:
    """Return whether the files of every split are there, with all of their shards."""
    try:
        find_shards(folder)
    except DataError:
        return False
    return all(any(folder.glob(pattern)) for pattern in source.files)
