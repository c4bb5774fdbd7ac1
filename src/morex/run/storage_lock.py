"""The lock of a run in an object store: one process works on a run, others are told which."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import Field, ValidationError

from morex.artifacts.manifest import lock_name, read_state
from morex.artifacts.schema import Schema
from morex.core.object_store import ObjectStore, StorageError
from morex.core.units import printable, rough_duration
from morex.run.directory import RunError
from morex.run.repeated import Repeated

BEAT = 20.0
"""Seconds between two signs of life."""

STALE = 300.0
"""Seconds without a sign of life after which another process may take a run over."""

SETTLE = 0.3
"""Seconds until a lock is read back, for stores whose writes have no conditions."""

_LARGEST = 10_000


class Holder(Schema):
    """Who works on a run.

    Attributes:
        token: identifies the process.
        copy_id: identifies its local copy, which is locked on its machine.
        host: the name of the machine.
        machine: identifies the machine since it was started, and what process numbers mean there.
        pid: the process.
        started: when it began, in seconds since 1970.
        beat: its last sign of life.
    """

    token: str = Field(max_length=100)
    copy_id: str = Field(max_length=100)
    host: str = Field(max_length=1000)
    machine: str = Field(max_length=100)
    pid: int
    started: float
    beat: float

    @classmethod
    def here(cls, copy_id: str) -> "Holder":
        """Return this process."""
        now = time.time()
        return cls(
            token=uuid4().hex,
            copy_id=copy_id,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            started=now,
            beat=now,
        )

    def has_ended(self, copy_id: str) -> bool:
        """Return whether the process no longer works on the run, as far as can be known here.

        Args:
            copy_id: identifies the local copy that this process has locked.
        """
        silent = time.time() - self.beat > STALE
        return silent or self.copy_id == copy_id or (self.machine == _machine() and self._is_gone)

    @property
    def _is_gone(self) -> bool:
        return bool(self.machine) and not Path(f"/proc/{self.pid}").exists()

    def __str__(self) -> str:
        """Return which process it is, in words."""
        return printable(f"process {self.pid} on {self.host}")


def _machine() -> str:
    """Return what identifies this machine and its numbers of processes; empty if it is unknown."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    return ""


@dataclass
class StoreLock:
    """The lock that this process holds.

    Attributes:
        store: where the run is.
        holder: this process.
        writer: its number among all that have worked on the run.
        heard: when the store was last reached.
        lost: why the lock no longer holds; empty while it does.
    """

    store: ObjectStore
    holder: Holder
    writer: int
    heard: float
    lost: str = ""

    def confirm(self) -> None:
        """Raise unless the lock still holds.

        Raises:
            RunError: if another process has taken the run over.
            StorageError: if the store cannot be read.
        """
        if not self.lost and (why := self._why_lost()):
            self.lost = f"{self.store.url}: {why}, so {self.holder} stops and writes nothing there"
        if self.lost:
            raise RunError(self.lost)
        self.heard = time.monotonic()

    def _why_lost(self) -> str:
        """Return why the lock no longer holds; empty if it does."""
        last = read_state(self.store).last_writer
        if last > self.writer:
            return f"{_holder(self.store, last) or 'another process'} has taken the run over"
        token = _read(self.store, self.writer)
        if token != self.holder.token:
            return "another process has the lock" if token else "the lock was removed"
        return ""

    def beat(self) -> None:
        """Give a sign of life, unless the lock is lost or the store cannot be reached."""
        with suppress(RunError, StorageError):
            self.confirm()
            alive = self.holder.model_copy(update={"beat": time.time()})
            self.store.write(lock_name(self.writer), alive.to_bytes())

    def release(self) -> None:
        """Remove the lock, if it still holds and the store can be reached."""
        with suppress(RunError, StorageError):
            self.confirm()
            self.store.remove(lock_name(self.writer))


@contextmanager
def locked(store: ObjectStore, copy_id: str) -> Iterator[StoreLock]:
    """Hold the lock of a run.

    Raises:
        RunError: if another process holds it.
        StorageError: if the store cannot be read or written.
    """
    lock = _acquire(store, copy_id)
    try:
        with Repeated(lock.beat, BEAT):
            yield lock
    finally:
        lock.release()


def _acquire(store: ObjectStore, copy_id: str) -> StoreLock:
    state = read_state(store)
    for writer in state.locks[-1:]:
        _check_free(store, writer, copy_id)
    mine = Holder.here(copy_id)
    writer = state.last_writer + 1
    store.create(lock_name(writer), mine.to_bytes())
    time.sleep(SETTLE)
    now = read_state(store).locks
    if now[-1:] != (writer,) or _read(store, writer) != mine.token:
        _check_free(store, now[-1] if now else writer, copy_id)
        raise RunError(f"{store.url} was taken by another process just now; run the command again")
    for old in now[:-1]:
        store.remove(lock_name(old))
    return StoreLock(store, mine, writer, time.monotonic())


def _check_free(store: ObjectStore, writer: int, copy_id: str) -> None:
    """Raise if a process works on the run.

    Raises:
        RunError: with the process, and how to take the run over.
    """
    holder = _holder(store, writer)
    if holder and not holder.has_ended(copy_id):
        ago = rough_duration(max(0.0, time.time() - holder.beat))
        raise RunError(
            f"{store.url} is in use by {holder}, last heard of {ago} ago; wait for it or choose "
            f"another --out. If that process is dead, run the command again when nothing was "
            f"heard for {rough_duration(STALE)}, or remove {store.url}/{lock_name(writer)}"
        )


def _read(store: ObjectStore, writer: int) -> str:
    """Return the token of a lock; empty if there is none."""
    holder = _holder(store, writer)
    return holder.token if holder else ""


def _holder(store: ObjectStore, writer: int) -> Holder | None:
    """Return who holds a lock; None if nobody does.

    One that cannot be read is written just now, on a store that shows objects in parts.

    Raises:
        StorageError: if it stays unreadable.
    """
    for _ in range(3):
        try:
            return Holder.model_validate_json(store.read(lock_name(writer), _LARGEST))
        except FileNotFoundError:
            return None
        except ValidationError:
            time.sleep(SETTLE)
    raise StorageError(
        f"{store.url}/{lock_name(writer)} is damaged; remove it if nobody works on the run"
    )
