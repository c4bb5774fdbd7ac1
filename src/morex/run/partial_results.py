"""The results of an unfinished evaluation: whole rows, and the first examples of one row."""

import time
from collections.abc import Callable
from pathlib import Path

from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.core.files import write_atomically


class PartialRows:
    """Rows in a file that is written after each whole row, and regularly within a row.

    Args:
        path: the file.
        every: seconds between two writes within a row.
        notice: called with a message if the file is damaged; the evaluation then starts again.
        settings: what decides the outcomes; rows that were kept under other settings are dropped.
    """

    def __init__(
        self, path: Path, every: float, notice: Callable[[str], None], settings: str = ""
    ) -> None:
        self.path, self.every, self.last = path, every, time.monotonic()
        self.done: dict[str, BoolArray] = {}
        self.label = path.with_name(path.name + ".settings")
        if settings and not self._same(settings):
            path.unlink(missing_ok=True)
            write_atomically(self.label, settings.encode())
        try:
            self.done = dict(Outcomes.load(path).right)
        except FileNotFoundError:
            pass
        except ValueError as error:
            notice(f"{error}; the evaluation starts again")

    def _same(self, settings: str) -> bool:
        return self.label.is_file() and self.label.read_text() == settings

    def keep(self, name: str, right: BoolArray, *, whole: bool) -> None:
        """Replace a row; write the file if the row is whole, or if the last write is long ago."""
        self.done[name] = right
        if whole or time.monotonic() - self.last >= self.every:
            Outcomes(self.done).save(self.path)
            self.last = time.monotonic()

    def remove(self) -> None:
        """Remove the files."""
        self.path.unlink(missing_ok=True)
        self.label.unlink(missing_ok=True)
