"""The manifest of a run in an object store: which files the run has, and their contents.

================================  ==============================================================
``objects/SHA256``                the content of a file, under its checksum
``state/manifest-WRITER-N.json``  the files of the run; the highest writer and number counts
``state/lock-WRITER.json``        who works on the run; not there if nobody does
================================  ==============================================================

Objects are written before the manifest that names them, and none is ever replaced. So a reader sees
the whole of a state, and a writer that was replaced cannot hide the state of the next one.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from morex.artifacts.progress import FILE as PROGRESS
from morex.artifacts.schema import InsidePath, Schema, problems
from morex.core.object_store import ObjectStore, StorageError
from morex.core.strict_json import parse_json

LARGEST = 16 * 2**30
"""Bytes that a file of a run may have."""

_MOST_FILES = 100_000
_MOST_BYTES = 64 * 2**20
_ATTEMPTS = 5

_FILES = re.compile(
    r"recipe\.yaml|results(-[^/]+)?\.json|test-labels\.json|errors\.log"
    r"|models/[^/]+(/gate)?/model\.(json|safetensors)"
    r"|outcomes(/[^/]+)?/[^/]+\.npz|illustrations/[^/]+\.npz|(stages|audits)/[^/]+\.json"
    r"|work/progress\.json|work/[^/]+-[0-9a-f]{16}/(checkpoint|rows\.npz|part-[^/]+\.npz)"
)
_STATE = re.compile(r"(lock|manifest)-(\d{6})(?:-(\d{6,12}))?\.json")


def belongs(name: str) -> bool:
    """Return whether a run has files of that name which it keeps in a store."""
    return bool(_FILES.fullmatch(name))


def _of_a_run(name: str) -> str:
    if not belongs(name):
        raise ValueError(f"no file of a run has the name {name!r}")
    return name


class StoredFile(Schema):
    """The content of a file: its size in bytes and its SHA-256, which names its object."""

    size: int = Field(ge=0, le=LARGEST)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def object_name(self) -> str:
        """The name of the object that holds the content."""
        return f"objects/{self.sha256}"


class Manifest(Schema):
    """The state of a run.

    Attributes:
        format: version of the format.
        writer: number of the process that wrote it; every process that works on a run has another.
        serial: number of the state; every state of a run has another, through all writers.
        copy_id: identifies the local copy from which it was written.
        files: the files of the run by name.
    """

    format: Literal[1] = 1
    writer: int = Field(ge=0, lt=10**6)
    serial: int = Field(ge=0, lt=10**12)
    copy_id: str = Field(max_length=100)
    files: dict[Annotated[InsidePath, AfterValidator(_of_a_run)], StoredFile] = Field(
        max_length=_MOST_FILES
    )

    @property
    def name(self) -> str:
        """The name of its object."""
        return f"state/manifest-{self.writer:06}-{self.serial:06}.json"

    def sealed(self) -> bytes:
        """Return it as JSON with a checksum."""
        content = self.model_dump(mode="json")
        return json.dumps(content | {"checksum": _checksum(content)}, indent=1).encode()


class State(Schema):
    """The names in the folder ``state``: numbers of writers with a lock, and of manifests."""

    locks: tuple[int, ...] = ()
    manifests: tuple[tuple[int, int], ...] = ()

    @property
    def last_writer(self) -> int:
        """The highest number of a writer; 0 if there was none."""
        return max((0, *self.locks, *(writer for writer, _ in self.manifests)))


def lock_name(writer: int) -> str:
    """Return the name of the lock of a writer."""
    return f"state/lock-{writer:06}.json"


def manifest_name(writer: int, serial: int) -> str:
    """Return the name of a manifest."""
    return Manifest(writer=writer, serial=serial, copy_id="", files={}).name


def read_state(store: ObjectStore) -> State:
    """Return what locks and manifests a store has.

    Raises:
        StorageError: if it cannot be listed.
    """
    found = [m.groups() for name in store.sizes("state") if (m := _STATE.fullmatch(name))]
    manifests = ((int(w), int(n)) for kind, w, n in found if kind == "manifest" and n)
    locks = (int(writer) for kind, writer, n in found if kind == "lock" and not n)
    return State(locks=tuple(sorted(locks)), manifests=tuple(sorted(manifests)))


def newest_manifest(store: ObjectStore) -> Manifest | None:
    """Return the manifest that counts; None if there is none.

    A manifest that is replaced while it is read is looked for again; one that was only written in
    part is passed over for the one before.

    Raises:
        StorageError: if the store cannot be read, or every manifest is damaged.
    """
    for _ in range(_ATTEMPTS):
        names = [manifest_name(*numbers) for numbers in reversed(read_state(store).manifests)]
        if not names:
            return None
        try:
            return _first_sound(store, names)
        except FileNotFoundError:
            continue
    raise StorageError(f"{store.url}: its manifests change faster than they can be read")


def _first_sound(store: ObjectStore, names: Iterable[str]) -> Manifest:
    """Return the first manifest that is not damaged.

    Raises:
        FileNotFoundError: if one of them was removed meanwhile.
        StorageError: if all are damaged.
    """
    damaged = []
    for name in names:
        try:
            return _parsed(store.read(name, _MOST_BYTES + 1))
        except ValueError as error:
            damaged.append(f"{store.url}/{name} is damaged ({error})")
    raise StorageError("; ".join(damaged[:1]))


def _parsed(content: bytes) -> Manifest:
    """Return the manifest in a file.

    Raises:
        ValueError: if it is damaged, or has a name that no file of a run has.
    """
    found = parse_json(content)
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object")
    checksum = found.pop("checksum", None)
    if checksum != _checksum(found):
        raise ValueError("it does not match its checksum")
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        raise ValueError(problems(error)[:300]) from None


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def without_weights(names: Iterable[str]) -> Iterator[str]:
    """Yield the files that tables and pages read: all but weights and unfinished work."""
    for name in names:
        weights, work = name.endswith(".safetensors"), name.startswith("work/")
        if name == PROGRESS or not (weights or work):
            yield name


def without_work(names: Iterable[str]) -> Iterator[str]:
    """Yield the files of finished stages: all but unfinished work."""
    yield from (name for name in names if not name.startswith("work/"))
