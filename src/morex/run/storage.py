"""Where a run is: a directory, or the URL of an object store with a local copy to work in."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from morex.artifacts.stored_runs import FOLDER, copy_for
from morex.core.object_store import ObjectStore, StorageError, is_url
from morex.run.directory import RunDirectory, RunError
from morex.run.events import Event, Finished, Noticed, Observer
from morex.run.mirror import CopyMark, Mirror
from morex.run.repeated import Repeated
from morex.run.storage_lock import STALE, locked

LOCAL = "local"
"""The address of a Ray cluster on this machine that is there for one run."""

EVERY = 20.0
"""Seconds between two looks for checkpoints; after a stage there is one at once."""


def working_folder(out: Path | str) -> Path:
    """Return the folder in which the stages of a run work: for a URL, that of the local copy.

    Raises:
        RunError: if a URL was given as a path.
    """
    if is_url(out):
        return copy_for(str(out), "work")
    if isinstance(out, Path) and re.match(r"[a-z][a-z0-9+]+:/", str(out)):
        raise RunError(f"{str(out)!r} is a URL that was made a path; give it as text")
    return Path(out)


def check_reached(out: Path | str, ray: str | None) -> None:
    """Raise unless all machines of a Ray cluster can reach the local copy of a URL.

    Raises:
        RunError: if the copy is in the cache folder of this machine.
    """
    if is_url(out) and ray not in (None, LOCAL) and FOLDER not in os.environ:
        raise RunError(
            f"the machines of a Ray cluster work in the local copy of {out}; set {FOLDER} to a "
            "folder that all of them reach under the same path, or leave --ray out"
        )


@contextmanager
def opened(out: Path | str, observer: Observer) -> Iterator[tuple[RunDirectory, Observer]]:
    """Hold the lock of a run, and yield its directory and the observer of its events.

    What is finished in the directory of a URL is written there within seconds, checkpoints every
    ``EVERY`` seconds, and all the rest at the end of the block.

    Args:
        out: a run directory, or the URL of one.
        observer: receives the events.

    Raises:
        RunError: if another process works on the run, has taken it over, or it is not a run.
        StorageError: if the store cannot be reached.
        ImportError: if the library for the URL is not installed.
    """
    directory = RunDirectory(working_folder(out))
    if not is_url(out):
        with directory.locked():
            yield directory, observer
        return
    store = ObjectStore(str(out))
    with directory.locked():
        mark = CopyMark.of(directory.root)
        with locked(store, mark.copy_id) as lock:
            mirror = Mirror(store, directory.root, lock, mark)
            mirror.begin(lambda text: observer(Noticed(text)))
            with _kept_alike(_Watch(mirror, observer)) as watch:
                yield directory, watch


@contextmanager
def _kept_alike(watch: "_Watch") -> Iterator["_Watch"]:
    """Keep a store like its local copy; at the end write all that is left."""
    try:
        with Repeated(watch.update, EVERY) as repeated:
            watch.repeated = repeated
            yield watch
    except BaseException:
        watch.update()
        watch.tell()
        raise
    try:
        watch.mirror.end()
    except StorageError as error:
        raise StorageError(f"{error}; {watch.afterwards}") from error


@dataclass
class _Watch:
    """An observer that also stops a run whose store is lost.

    Attributes:
        mirror: keeps the store like the local copy.
        observer: receives the events.
        repeated: looks for changes.
        problem: why the last look failed; empty if it did not.
    """

    mirror: Mirror
    observer: Observer
    repeated: Repeated = field(init=False)
    problem: str = ""
    _told: str = ""

    def update(self) -> None:
        """Write what has changed; keep the reason if it fails."""
        try:
            self.mirror.update()
            self.problem = ""
        except (RunError, OSError, ValueError) as error:
            self.problem = str(error)

    def tell(self) -> None:
        """Notice once that the store cannot be reached."""
        if self.problem and not self._told and not self.mirror.lock.lost:
            self.observer(Noticed(f"{self.problem}; {self.afterwards}"))
        self._told = self.problem

    @property
    def afterwards(self) -> str:
        """How what the store lacks gets there."""
        where = f"the local copy {self.mirror.root} has it"
        return f"nothing is lost: {where}, and the same command goes on"

    def __call__(self, event: Event) -> None:
        """Hand an event on.

        Raises:
            RunError: if another process has taken the run over.
            StorageError: if the store could not be reached for so long that one may have.
        """
        if lost := self.mirror.lock.lost:
            raise RunError(lost)
        self.tell()
        if self.problem and time.monotonic() - self.mirror.lock.heard > STALE:
            raise StorageError(f"{self.problem}; {self.afterwards}")
        self.observer(event)
        if isinstance(event, Finished):
            self.repeated.now()
