"""A run's directory: its lock, its finished stages, and the data of unfinished ones.

==========================  ====================================================================
``recipe.yaml``             what the run does
``results.json``            the results so far, for tables and reports
``models/NAME/``            a trained model: model.json, model.safetensors
``outcomes/NAME.npz``       one boolean per row and test image
``illustrations/NAME.npz``  the pictures and curves of a model on the report page
``test-labels.json``        the true classes of the test images
``stages/STAGE.json``       a finished stage: key, files with checksums, cost and provenance
``errors.log``              tracebacks of what ended the run early; not there if nothing did
``work/STAGE-KEY/``         an unfinished stage: its checkpoint, or the rows evaluated so far
``work/progress.json``      how far the run is, until it is complete
==========================  ====================================================================
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from morex.artifacts.records import StageRecord
from morex.core.file_errors import reason
from morex.core.files import digest_of, read_file, write_atomically
from morex.core.strict_json import parse_json
from morex.recipe import RecipeError
from morex.recipe.read_yaml import as_mapping, read_yaml
from morex.run.stages import Stage

_FOLDERS = ("models", "outcomes", "illustrations", "stages", "work")
ERRORS = "errors.log"
"""The file with the tracebacks of everything that ended the run early."""

_LONGEST_LOG = 1_000_000

_MARK = ".owner.json"
"""The file that marks a folder as a run directory; it names the process that holds the lock."""

_KEY = "[0-9a-f]" * 16
"""The pattern of the part of a key that ends the name of a folder in ``work``."""


class RunError(RuntimeError):
    """A run cannot start or cannot continue."""


class RunDirectory:
    """Locks a run directory, and reads, checks and writes its files.

    ``damaged`` collects what is wrong with files that were checked.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: list[str] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run directory for this process; the lock is lost when the process ends.

        Raises:
            RunError: if another process holds the lock, the directory cannot be made or written,
                or it holds something that is not a run.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the run directory {self.root}: {reason(error)}") from None
        self._check_no_links()
        with self._acquire_lock():
            self._check_is_run()
            for part in self._partial_files():
                part.unlink()
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "run": uuid4().hex}
            write_atomically(self.root / _MARK, json.dumps(owner).encode())
            yield

    def _acquire_lock(self) -> AbstractContextManager[object]:
        """Acquire the lock and return the context that releases it."""
        try:
            return FileLock(self.root / ".lock", timeout=0).acquire()
        except Timeout:
            raise RunError(
                f"{self.root} is in use by {self._owner()}; wait for it or choose another --out"
            ) from None
        except OSError as error:
            raise RunError(
                f"cannot write in the run directory {self.root}: {reason(error)}"
            ) from None

    def _check_no_links(self) -> None:
        """Raise if a folder of the run is a link: what a run writes stays in its directory."""
        folders = [self.root / name for name in (".lock", *_FOLDERS)]
        for path in (*folders, *self.root.glob("models/*"), *self.root.glob("work/*")):
            if path.is_symlink():
                raise RunError(
                    f"{path} is a symbolic link; a run writes only inside its directory. Remove "
                    "the link, or give --out the place where the whole run is to lie"
                )

    def _check_is_run(self) -> None:
        """Raise if the folder holds something else, because a run removes files.

        A run marks its directory. A copy without hidden files has no mark: it is recognised by its
        recipe and its results. A kill while the mark is first written leaves only a part of it.
        """
        ours = (".lock", *(path.name for path in self.root.glob(f".{_MARK}.*.part")))
        others = sorted(path.name for path in self.root.iterdir() if path.name not in ours)
        if others and not (self.root / _MARK).is_file() and not self._looks_like_a_run():
            (self.root / ".lock").unlink(missing_ok=True)
            raise RunError(
                f"{self.root} is not a run directory: it holds {others[0]!r}; "
                "give --out a new or empty folder"
            )

    def _looks_like_a_run(self) -> bool:
        """Return whether a folder without a mark has what only a run writes."""
        try:
            recipe = as_mapping(read_yaml(self.root / "recipe.yaml"), "recipe.yaml")
        except RecipeError:
            return False
        files = (*self.root.glob("results.json"), *self.root.glob("stages/*.json"))
        return "models" in recipe and any(map(_is_ours, files))

    def _partial_files(self) -> Iterator[Path]:
        """Yield the files that a process was writing when it was killed."""
        yield from self.root.glob(".*.part")
        for folder in _FOLDERS:
            yield from (self.root / folder).rglob(".*.part")

    def mark(self) -> bytes:
        """Return what marks the directory as that of the process that holds its lock."""
        try:
            return (self.root / _MARK).read_bytes()
        except OSError:
            return b""

    def _owner(self) -> str:
        """Return which process holds the lock, for a message."""
        try:
            owner = parse_json(read_file(self.root / _MARK))
            return f"process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, LookupError, TypeError):
            return "another process"

    def record(self, stage_id: str) -> StageRecord | None:
        """Return the record of a finished stage; None if there is none or it is damaged."""
        try:
            return _read(self.record_path(stage_id))
        except (FileNotFoundError, ValueError):
            return None

    def finished(self, stage: Stage, key: str) -> StageRecord | None:
        """Return the stage's record if it is finished, up to date and undamaged."""
        try:
            record = _read(self.record_path(stage.id))
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.damaged.append(str(error))
            return None
        return record if record.key == key and self._undamaged(record) else None

    def _undamaged(self, record: StageRecord) -> bool:
        """Return whether all files of a stage match their checksums.

        The first file that does not is added to ``damaged``.
        """
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
        """Write the record of a finished stage, and remove its unfinished work."""
        digests = {name: digest_of(self.root / name) for name in files}
        record = StageRecord(stage=stage.id, key=key, files=digests, **about)
        path = self.record_path(stage.id)
        path.parent.mkdir(exist_ok=True)
        content = record.content()
        sealed = content | {"checksum": _checksum(content)}
        write_atomically(path, json.dumps(sealed, indent=1).encode())
        for folder in self._work_folders(stage):
            shutil.rmtree(folder)
        return record

    def tidy(self) -> None:
        """Remove all unfinished work, once the run is complete."""
        work = self.root / "work"
        for folder in work.glob("*-" + _KEY):
            shutil.rmtree(folder)
        with suppress(OSError):  # it does not exist, or holds files that are not the run's
            work.rmdir()

    def work_folder(self, stage: Stage, key: str, reads: Mapping[str, str]) -> Path:
        """Return a folder for the data of an unfinished stage; make it if it does not exist.

        All other data of the stage is removed: nothing can resume from it.

        Args:
            stage: the stage.
            key: its key, which knows the weights that it reads.
            reads: what the models that it reads compute with their weights, by stage.
        """
        name = _checksum({"key": key, **reads}) if reads else key
        folder = self.root / "work" / f"{stage.id}-{name[:16]}"
        for stale in self._work_folders(stage):
            if stale != folder:
                shutil.rmtree(stale)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the run atomically."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def remove_results_except(self, names: Collection[str]) -> None:
        """Remove the results of suites that the run no longer has: all files but ``names``."""
        for path in self.root.glob("results-*.json"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def log(self, text: str) -> None:
        """Add a text to the log of errors, which is begun anew when it is long."""
        path = self.root / ERRORS
        with suppress(OSError):  # the error itself matters more, such as a full disk
            mode = "a" if path.is_file() and path.stat().st_size < _LONGEST_LOG else "w"
            with open(path, mode, encoding="utf-8", errors="backslashreplace") as file:
                file.write(text.rstrip() + "\n\n")

    def _work_folders(self, stage: Stage) -> list[Path]:
        """Return the stage's folders in ``work``, under all keys."""
        # not f"{stage.id}-*": train-a-* would also match the folders of train-a-b
        return [*(self.root / "work").glob(f"{stage.id}-" + _KEY)]

    def record_path(self, stage_id: str) -> Path:
        """Return the file of the record of a stage."""
        return self.root / "stages" / f"{stage_id}.json"


def _read(path: Path) -> StageRecord:
    """Read the record of a stage.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    try:
        content = json.loads(read_file(path))
        checksum = content.pop("checksum")
        record = StageRecord.model_validate(content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is damaged") from None
    if checksum != _checksum(content):
        raise ValueError(f"{path} is damaged")
    return record


def _checksum(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's JSON, which is the same after writing and reading it."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _is_ours(path: Path) -> bool:
    """Return whether a JSON file is results or the record of a stage."""
    try:
        content = parse_json(read_file(path))
    except (OSError, ValueError):
        return False
    keys = content.keys() if isinstance(content, dict) else set()
    return keys >= {"format", "columns"} or keys >= {"stage", "key", "checksum"}
