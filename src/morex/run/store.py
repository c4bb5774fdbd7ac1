"""A run's directory: its lock, its finished stages, and what is still in the works.

recipe.yaml            what the run does
results.json           what is known so far, for tables and reports
models/NAME/           a trained model: model.json, model.safetensors
outcomes/NAME.npz      one boolean per row and test image
illustrations/NAME.npz what the report page shows of a model
test-labels.json       the true classes of the test images
stages/STAGE.json      a finished stage: its key, its files with checksums, cost, provenance
work/STAGE-KEY/        an unfinished stage: checkpoint, rows evaluated so far
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from morex.artifacts.records import StageRecord
from morex.core.files import digest_of, write_atomically
from morex.run.stages import Stage

_KEY = "[0-9a-f]" * 16
"""How the names of unfinished stages end."""


class RunError(RuntimeError):
    """A run that cannot be started or go on."""


class Store:
    """Reads and writes a run directory; the only place that knows its layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: list[str] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory for this process; the lock goes with the process.

        Raises:
            RunError: if another process holds it, or it cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the run directory {self.root}: {error}") from None
        lock = FileLock(self.root / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RunError(
                f"{self.root} is in use by {self._owner()}; wait for it or choose another --out"
            ) from None
        except OSError as error:
            raise RunError(f"cannot write in the run directory {self.root}: {error}") from None
        with lock:
            self._check_ours()
            for torn in self._torn():  # a process was killed while it wrote
                torn.unlink()
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            write_atomically(self.root / ".owner.json", json.dumps(owner).encode())
            yield

    def _check_ours(self) -> None:
        """Refuse a folder that holds something else: a run removes what it does not need."""
        strangers = sorted(path.name for path in self.root.iterdir() if path.name != ".lock")
        if strangers and not (self.root / ".owner.json").is_file():
            (self.root / ".lock").unlink(missing_ok=True)
            raise RunError(
                f"{self.root} is not a run directory: it holds {strangers[0]!r}; "
                "give --out a new or empty folder"
            )

    def _torn(self) -> Iterator[Path]:
        """Yield what was left half written in the places of the run."""
        yield from self.root.glob(".*.part")
        for place in ("models", "outcomes", "illustrations", "stages", "work"):
            yield from (self.root / place).rglob(".*.part")

    def _owner(self) -> str:
        try:
            owner = json.loads((self.root / ".owner.json").read_bytes())
            return f"process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, KeyError):
            return "another process"

    def record(self, stage_id: str) -> StageRecord | None:
        """Return the record of a finished stage; None if there is none or it is damaged."""
        try:
            return _read(self._record_path(stage_id))
        except (FileNotFoundError, ValueError):
            return None

    def finished(self, stage: Stage, key: str) -> StageRecord | None:
        """Return the stage's record if it is finished, up to date and undamaged."""
        try:
            record = _read(self._record_path(stage.id))
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.damaged.append(str(error))
            return None
        return record if record.key == key and self._undamaged(record) else None

    def _undamaged(self, record: StageRecord) -> bool:
        """Return whether all files of a stage match their checksums; note the first that do not."""
        for name, digest in record.files.items():
            path = self.root / name
            if not path.is_file():
                self.damaged.append(f"{path} is missing")
                return False
            if digest_of(path) != digest:
                self.damaged.append(f"{path} is damaged: it does not match its checksum")
                return False
        return True

    def finish(
        self, stage: Stage, key: str, files: tuple[str, ...], about: Mapping[str, Any]
    ) -> StageRecord:
        """Write the record of a finished stage, and clear its place in the works."""
        digests = {name: digest_of(self.root / name) for name in files}
        record = StageRecord(stage=stage.id, key=key, files=digests, **about)
        path = self._record_path(stage.id)
        path.parent.mkdir(exist_ok=True)
        content = record.content()
        sealed = content | {"checksum": _checksum(content)}
        write_atomically(path, json.dumps(sealed, indent=1).encode())
        for leftover in self._works(stage):
            shutil.rmtree(leftover)
        return record

    def tidy(self) -> None:
        """Clear the works when the run is complete: nobody will go on with what is left there."""
        works = self.root / "work"
        for leftover in works.glob("*-" + _KEY):
            shutil.rmtree(leftover)
        with suppress(OSError):  # there are none, or a stranger's
            works.rmdir()

    def work(self, stage: Stage, key: str) -> Path:
        """Return a folder for what the unfinished stage wants to find again, made if needed.

        What was left there under another key is of no use any more and is removed.
        """
        folder = self.root / "work" / f"{stage.id}-{key[:16]}"
        for stale in self._works(stage):
            if stale != folder:
                shutil.rmtree(stale)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the run atomically."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def _works(self, stage: Stage) -> list[Path]:
        """Return the stage's folders in the works; ``train-a-*`` would also be ``train-a-b``'s."""
        return [*(self.root / "work").glob(f"{stage.id}-" + _KEY)]

    def _record_path(self, stage_id: str) -> Path:
        return self.root / "stages" / f"{stage_id}.json"


def _read(path: Path) -> StageRecord:
    """Read the record of a stage.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum")
        record = StageRecord.model_validate(content)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged") from None
    if checksum != _checksum(content):
        raise ValueError(f"{path} is damaged")
    return record


def _checksum(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's JSON, which does not change when it is written and read."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
