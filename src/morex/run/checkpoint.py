"""The state of an unfinished training in one file, written atomically and with a checksum."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from morex.core.files import read_with_digest, write_with_digest
from morex.core.stopping import asked_to_stop, stop_if_asked
from morex.training.state import Snapshot

_MOST_OF_THE_TIME = 0.02
"""The share of a training's time that its checkpoints may take."""


class FileCheckpoint:
    """Keeps a training's state in ``folder``, at most once in ``every`` seconds.

    If the files are large or the disk is slow, it waits for longer: until a write takes no more
    than 2% of the time. A kill loses at most the work since the last write.

    Args:
        folder: the folder of the file.
        every: least seconds between two writes; 0 writes after every step.
        notice: called with a message if the file is damaged; the training then starts again.
    """

    def __init__(self, folder: Path, every: float, notice: Callable[[str], None]) -> None:
        self.path = folder / "checkpoint"
        self.every = self.wait = every
        self.notice = notice
        self.last = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time for the next write, or the process is asked to stop."""
        return time.monotonic() - self.last >= self.wait or asked_to_stop()

    def save(self, snapshot: Snapshot) -> None:
        """Replace the file; then stop if the process is asked to."""
        started = time.monotonic()
        tensors = {name: t.detach().cpu().contiguous() for name, t in snapshot.tensors.items()}
        content = save(tensors, metadata={"values": json.dumps(snapshot.values)})
        write_with_digest(self.path, content)
        self.last = time.monotonic()
        if self.every:
            self.wait = max(self.every, (self.last - started) / _MOST_OF_THE_TIME)
        stop_if_asked()

    def load(self) -> Snapshot | None:
        """Return the state in the file, or None if there is none or it is damaged."""
        try:
            content = read_with_digest(self.path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.discard(str(error))
            return None
        try:
            return Snapshot(load(content), _values(content))
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            self.discard(f"{self.path} holds no checkpoint ({error})")
            return None

    def discard(self, why: str) -> None:
        """Remove the file and say why; the training starts again."""
        self.notice(f"{why}; the stage starts again")
        self.path.unlink(missing_ok=True)


def _values(content: bytes) -> dict[str, Any]:
    """Return the values in the header of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    values = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["values"])
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object of values, got {values!r}")
    return values
