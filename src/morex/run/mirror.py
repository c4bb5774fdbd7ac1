"""A run in an object store, and the local copy in which its stages work.

Every file of a run is replaced as a whole, so any moment of its directory is one from which the run
can go on. The mirror looks at the directory from time to time, writes what is new as objects, and
then a manifest. It reads what refers to other files before these, so that a manifest never has a
record without its files.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from pydantic import Field, ValidationError

from morex.artifacts.manifest import (
    Manifest,
    StoredFile,
    belongs,
    manifest_name,
    newest_manifest,
    read_state,
)
from morex.artifacts.schema import Schema
from morex.artifacts.stored_runs import bring_up_to_date
from morex.core.files import write_atomically
from morex.core.object_store import ObjectStore
from morex.run.directory import RunError
from morex.run.storage_lock import StoreLock

_MARK = ".store.json"
_OURS = frozenset({"state", "objects"})


class CopyMark(Schema):
    """What is known of a local copy.

    Attributes:
        copy_id: identifies it.
        serial: the last state of the run that it had in common with the store.
    """

    copy_id: str = Field(default_factory=lambda: uuid4().hex)
    serial: int = -1

    @classmethod
    def of(cls, root: Path) -> "CopyMark":
        """Return the mark of a copy; a new one if it has none."""
        try:
            return cls.model_validate_json((root / _MARK).read_bytes())
        except (OSError, ValidationError):
            return cls()

    def write(self, root: Path) -> None:
        """Mark a copy."""
        write_atomically(root / _MARK, json.dumps(self.model_dump()).encode())


class _Seen(NamedTuple):
    """A file as it was read: what its directory entry said, and its content."""

    stamp: tuple[int, int, int]
    file: StoredFile


@dataclass
class Mirror:
    """Keeps a run in a store like its local copy.

    Attributes:
        store: where the run is.
        root: the local copy.
        lock: the lock of the run, which this process holds.
        mark: identifies the local copy.
        manifest: the state that the store has.
        objects: the checksums of all objects that the store has.
    """

    store: ObjectStore
    root: Path
    lock: StoreLock
    mark: CopyMark
    manifest: Manifest | None = None
    objects: set[str] = field(default_factory=set)
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _outdated: set[str] = field(default_factory=set)

    def begin(self, notice: Callable[[str], None]) -> None:
        """Make the local copy as new as the store, and remove what unfinished writes left there.

        A copy that was the last to write is as new, or newer: a killed process may have had no time
        to write what it had finished. It stays as it is.

        Args:
            notice: called with what is wrong with objects that are missing or damaged.

        Raises:
            RunError: if the URL holds something that is not a run.
            StorageError: if the store cannot be read or written.
        """
        _check_is_run(self.store)
        self.manifest = newest_manifest(self.store)
        found = self.store.sizes("objects")
        named = {file.sha256: file.size for file in self._stored.values()}
        for name in found.keys() - named.keys():
            self.store.remove(f"objects/{name}")
        damaged = {name for name, size in found.items() if named.get(name) != size}
        if self.manifest and not self._is_newer:
            for problem in bring_up_to_date(self.root, self.store, self.manifest):
                notice(f"{problem}; its stage is done again")
                damaged.add(problem.removeprefix(f"{self.store.url}/objects/")[:64])
        self.objects = found.keys() - damaged
        self.mark.write(self.root)
        self._publish()

    @property
    def _stored(self) -> dict[str, StoredFile]:
        return self.manifest.files if self.manifest else {}

    @property
    def _is_newer(self) -> bool:
        """Whether the local copy has all that the store has: nobody else has written since."""
        assert self.manifest
        same = self.manifest.copy_id == self.mark.copy_id
        return same and self.manifest.serial <= self.mark.serial + 1

    def update(self) -> None:
        """Write what has changed in the local copy.

        Raises:
            RunError: if another process has taken the run over.
            StorageError: if the store cannot be read or written.
        """
        self.lock.confirm()
        for name in self._outdated:  # readers had until now to notice the new manifest
            self.store.remove(name)
        self._outdated.clear()
        self._publish()

    def end(self) -> None:
        """Write what has changed, and remove what the last manifest does not name.

        Raises:
            RunError, StorageError: as ``update``.
        """
        self.update()
        for name in self._outdated:
            self.store.remove(name)
        self._outdated.clear()

    def _publish(self) -> None:
        """Write the objects that are new, and then the manifest that names them."""
        files = {name: self._stored_file(name) for name in self._names()}
        present = {name: file for name, file in files.items() if file}
        if self.manifest and present == self._stored and self.manifest.writer == self.lock.writer:
            return
        self.lock.confirm()
        serial = self.manifest.serial + 1 if self.manifest else 0
        new = Manifest(
            writer=self.lock.writer, serial=serial, copy_id=self.mark.copy_id, files=present
        )
        self.store.write(new.name, new.sealed())
        self.mark = self.mark.model_copy(update={"serial": serial})
        self.mark.write(self.root)
        kept = {file.sha256 for file in present.values()}
        self._outdated |= {f"objects/{name}" for name in self.objects - kept}
        self.objects &= kept
        for writer, number in read_state(self.store).manifests:
            if (writer, number) < (new.writer, serial):
                self._outdated.add(manifest_name(writer, number))
        self.manifest = new

    def _names(self) -> Iterator[str]:
        """Yield the files of the run: unfinished work, records and results, then all others."""
        found = [path.relative_to(self.root).as_posix() for path in self.root.rglob("*")]
        yield from sorted(filter(belongs, found), key=_when)

    def _stored_file(self, name: str) -> StoredFile | None:
        """Return a file of which the store has the content; None if the file is gone.

        The content that is written is the one of which the checksum is taken: the file may be
        replaced meanwhile.
        """
        try:
            with open(self.root / name, "rb") as opened:
                about = os.fstat(opened.fileno())
                stamp = (about.st_ino, about.st_size, about.st_mtime_ns)
                seen = self._seen.get(name)
                if seen and seen.stamp == stamp and seen.file.sha256 in self.objects:
                    return seen.file
                content = opened.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        file = StoredFile(size=len(content), sha256=sha256(content).hexdigest())
        if file.sha256 not in self.objects:
            self.store.write(file.object_name, content)
            self.objects.add(file.sha256)
        self._outdated.discard(file.object_name)
        self._seen[name] = _Seen(stamp, file)
        return file


def _when(name: str) -> tuple[int, str]:
    """Return when a file is read: what refers to others comes before them."""
    folder = name.partition("/")[0]
    if folder == "work":
        return 0, name
    return (1 if folder == "stages" or name.startswith("results") else 2), name


def _check_is_run(store: ObjectStore) -> None:
    """Raise if a URL holds something that is not a run."""
    if others := sorted(store.sizes().keys() - _OURS):
        raise RunError(
            f"{store.url} is not a run: it holds {others[0]!r}; give --out a new or empty place"
        )
