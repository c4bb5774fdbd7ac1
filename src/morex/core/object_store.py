"""Objects under a URL that fsspec knows: s3, gs, az, file, memory and others.

Network errors are tried again a few times. An error that remains is one sentence.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

PAUSES = (0.5, 2.0)
"""Seconds between attempts; the libraries behind fsspec have attempts too."""

_NOT_STORES = ("hf://", "robustbench://")
_FINAL = (FileNotFoundError, FileExistsError, PermissionError)
_LONGEST = 300


class StorageError(OSError):
    """Objects under a URL cannot be listed, read or written."""


def is_url(place: object) -> bool:
    """Return whether a place is a URL of a store, and not a path or the address of a model."""
    return isinstance(place, str) and "://" in place and not place.startswith(_NOT_STORES)


class ObjectStore:
    """Whole objects by name, below a URL.

    Args:
        url: such as ``s3://bucket/folder``. Its options (endpoint, credentials) are those that the
            library behind the protocol reads from its files and variables.

    Raises:
        ImportError: if the library for the protocol is not installed.
        StorageError: if the protocol is unknown.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol = url.partition("://")[0]
        options: dict[str, Any] = {"auto_mkdir": True} if protocol in ("file", "local") else {}
        try:
            from fsspec.core import url_to_fs

            self._files, root = url_to_fs(self.url, **options)
        except ImportError as error:
            library = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}.get(protocol)
            what = f"pip install {library}" if library else str(error)
            raise ImportError(f"{protocol}:// needs a library that is missing: {what}") from None
        except Exception as error:
            raise StorageError(f"{self.url} cannot be used: {_reason(error)}") from None
        self._root = root.rstrip("/")

    def sizes(self, folder: str = "") -> dict[str, int | None]:
        """Return the names in a folder, without their path; a folder has the size None.

        Empty if there is no such folder.
        """
        self._files.invalidate_cache()
        path = f"{self._root}/{folder}".rstrip("/")
        try:
            found = self._try("listed", lambda: self._files.ls(path, detail=True))
        except FileNotFoundError:
            return {}
        return {
            entry["name"].rstrip("/").rpartition("/")[2]: (
                None if entry["type"] == "directory" else int(entry["size"])
            )
            for entry in found
            if entry["name"].strip("/") != path.strip("/")  # some stores list the folder itself
        }

    def read(self, name: str, end: int, start: int = 0) -> bytes:
        """Return the bytes of an object from ``start`` to before ``end``, as far as it has them.

        Raises:
            FileNotFoundError: if there is no such object.
            StorageError: if it cannot be read.
        """

        def read() -> bytes:
            content: bytes = self._files.cat_file(self._path(name), start=start, end=end)
            return content

        return self._try(f"read ({name})", read)

    def write(self, name: str, content: bytes) -> None:
        """Write an object, or replace it.

        Raises:
            StorageError: if it cannot be written.
        """
        self._write(name, content)

    def create(self, name: str, content: bytes) -> None:
        """Write an object unless there is one of that name.

        On stores with conditional writes this is atomic (``If-None-Match: *``). Elsewhere two
        processes may write at the same time: read the object afterwards.

        Raises:
            StorageError: if it cannot be written.
        """
        try:
            self._write(name, content, mode="create")
        except FileExistsError:
            pass
        except StorageError:  # some stores answer an unmet condition with an error of another kind
            folder, _, last = name.rpartition("/")
            if last not in self.sizes(folder):
                raise

    def _write(self, name: str, content: bytes, **options: str) -> None:
        def write() -> None:
            self._files.pipe_file(self._path(name), content, **options)

        try:
            self._try(f"written ({name})", write)
        except FileNotFoundError as error:
            reason = _reason(error)
            raise StorageError(f"{self.url} cannot be written ({name}): {reason}") from None

    def remove(self, name: str) -> None:
        """Remove an object, if it exists.

        Raises:
            StorageError: if it cannot be removed.
        """
        with suppress(FileNotFoundError):
            self._try(f"changed ({name})", lambda: self._files.rm_file(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _try(self, done: str, action: Callable[[], T]) -> T:
        """Return the result of an action; try again if it fails for a reason that may pass."""
        for pause in (*PAUSES, None):
            try:
                return action()
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:  # its type depends on the library behind the protocol
                if pause is None or isinstance(error, _FINAL):
                    raise StorageError(f"{self.url} cannot be {done}: {_reason(error)}") from error
                time.sleep(pause)
        raise AssertionError


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:_LONGEST] or type(error).__name__
