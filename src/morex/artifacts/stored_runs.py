"""Local copies of runs that lie in an object store.

Everything that reads a run reads files. A run at a URL is therefore copied into a folder first:
what is missing or different is fetched, and nothing is put in place that does not match its
checksum. Who works on a run and who reads it have different copies, so neither disturbs the other.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from morex.artifacts.manifest import (
    Manifest,
    StoredFile,
    belongs,
    newest_manifest,
    without_weights,
    without_work,
)
from morex.core.files import digest_of
from morex.core.object_store import ObjectStore, StorageError, is_url

FOLDER = "MOREX_COPIES"
"""The variable with the folder of all local copies."""

_AT_A_TIME = 8
_PIECE = 64 * 2**20
_ATTEMPTS = 3

Wanted = Callable[[Iterable[str]], Iterable[str]]
"""Chooses among the names of a run's files."""


class DamagedError(StorageError):
    """An object is missing or does not match its checksum."""


def copy_for(url: str, use: str) -> Path:
    """Return the folder of the local copy of a run.

    Args:
        url: of the run.
        use: ``work`` for the copy of the process that works on the run, ``read`` for the other one.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = Path(os.environ.get(FOLDER) or Path(cache) / "morex" / "copies")
    url = url.rstrip("/")
    last = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in url.rpartition("/")[2])
    return home / f"{use}-{hashlib.sha256(url.encode()).hexdigest()[:16]}" / (last[:60] or "run")


def local_run(run: str | Path, wanted: Wanted = without_weights) -> Path:
    """Return a run directory: that of a URL is the local copy, which is brought up to date.

    Args:
        run: a run directory or the URL of one.
        wanted: chooses the files to fetch from a URL.

    Raises:
        FileNotFoundError: if there is no run at the URL.
        StorageError: if it cannot be read, or an object is damaged.
    """
    if not is_url(run):
        return Path(run)
    url = str(run).rstrip("/")
    store, copy = ObjectStore(url), copy_for(url, "read")
    copy.mkdir(parents=True, exist_ok=True)
    with FileLock(copy / ".lock"):
        for attempt in range(_ATTEMPTS):
            manifest = newest_manifest(store)
            if manifest is None:
                raise FileNotFoundError(
                    f"no run at {url}; make one with: morex run RECIPE --out {url}"
                )
            damaged = bring_up_to_date(copy, store, manifest, wanted)
            if not damaged:
                break
            if attempt + 1 == _ATTEMPTS:
                raise DamagedError(f"{damaged[0]}; run the same morex run command again")
    return copy


def local_file(place: str | Path) -> Path:
    """Return a file; that of a run at a URL, such as ``URL/outcomes/clean.npz``, is fetched.

    Raises:
        FileNotFoundError: if there is no such file.
        StorageError: if it cannot be read.
    """
    if not is_url(place):
        return Path(place)
    run, name = split_url(str(place))
    return local_run(run, lambda names: [n for n in names if n == name]) / name


def local_model(url: str) -> Path:
    """Return the folder of a model in a run at a URL, such as ``URL/models/clean``.

    The whole run is fetched but for its unfinished work: a model may share the weights of others,
    and is evaluated with the recipe of its run.

    Raises:
        FileNotFoundError: if there is no such run, or it has no such model.
        StorageError: if it cannot be read.
    """
    run, name = split_url(url)
    folder = local_run(run, without_work) / name
    if not folder.is_dir():
        models = ", ".join(sorted(path.name for path in folder.parent.glob("*/"))) or "none yet"
        raise FileNotFoundError(f"{url}: the run has no such model; it has {models}")
    return folder


def split_url(url: str) -> tuple[str, str]:
    """Return the URL of a run and the name of something in it.

    Raises:
        ValueError: if the URL does not name a model or a file of outcomes.
    """
    url = url.rstrip("/")
    for folder in ("/models/", "/outcomes/"):
        run, found, rest = url.rpartition(folder)
        if found and rest and ".." not in rest.split("/"):
            return run, f"{folder[1:]}{rest}"
    raise ValueError(
        f"{url}: expected a model or outcomes in a run, such as s3://bucket/runs/digits/models/"
        "clean or s3://bucket/runs/digits/outcomes/clean.npz"
    )


def bring_up_to_date(
    copy: Path, store: ObjectStore, manifest: Manifest, wanted: Wanted = tuple
) -> list[str]:
    """Make the files of a local copy those of a manifest; files that it does not name are removed.

    Args:
        copy: the folder of the copy.
        store: where the run is.
        manifest: of the run.
        wanted: chooses among the names of the manifest; others are left as they are.

    Returns:
        What is wrong with objects that are missing or damaged; their files are removed.

    Raises:
        StorageError: if an object cannot be read, or the disk has too little room.
    """
    for path in [*copy.rglob("*")]:
        name = path.relative_to(copy).as_posix()
        if belongs(name) and name not in manifest.files:
            path.unlink(missing_ok=True)
    files = {name: manifest.files[name] for name in wanted(manifest.files)}
    missing = {name: file for name, file in files.items() if not _is_here(copy / name, file)}
    needed, free = sum(file.size for file in missing.values()), shutil.disk_usage(copy).free
    if needed > free:
        raise StorageError(
            f"{copy} has room for {free} bytes, but the run at {store.url} needs {needed}; make "
            f"room, or set {FOLDER} to another folder"
        )

    def fetch(item: tuple[str, StoredFile]) -> str:
        try:
            _fetch(store, item[1], copy / item[0])
        except DamagedError as error:
            (copy / item[0]).unlink(missing_ok=True)
            return f"{store.url}/{item[1].object_name}, the content of {item[0]}, {error}"
        return ""

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return [*filter(None, pool.map(fetch, missing.items()))]


def _is_here(path: Path, file: StoredFile) -> bool:
    with suppress(OSError):
        return path.stat().st_size == file.size and digest_of(path) == file.sha256
    return False


def _fetch(store: ObjectStore, file: StoredFile, target: Path) -> None:
    """Put the content of an object in place, wholly or not at all.

    Raises:
        DamagedError: if it is missing or does not match its checksum.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with open(new, "wb") as out:
            for start in range(0, file.size, _PIECE):
                piece = store.read(file.object_name, min(file.size, start + _PIECE), start)
                digest.update(piece)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != file.sha256:
            raise DamagedError("is damaged: it does not match its checksum")
        os.replace(new, target)
    except FileNotFoundError:
        raise DamagedError("is missing") from None
    finally:
        new.unlink(missing_ok=True)
