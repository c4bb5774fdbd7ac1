"""The results of an unfinished evaluation: whole rows, and the first examples of one row."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from morex.artifacts.notes import NoteBook
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.core.files import write_atomically
from morex.core.stopping import asked_to_stop, stop_if_asked

_SOON = 1.0
"""Seconds between two writes after whole rows: a write has all rows, and there may be many."""


class RowShares:
    """How much of an evaluation is done, kept up to date without going over all rows.

    Args:
        counts: the number of examples of each row.
        done: the rows that are done, wholly or in part.
    """

    def __init__(self, counts: Mapping[str, int], done: Mapping[str, BoolArray]) -> None:
        self.counts = counts
        self.whole: set[str] = set()
        self.begun: dict[str, float] = {}
        for name in counts.keys() & done.keys():
            self.add(name, len(done[name]))

    def add(self, name: str, examples: int) -> bool:
        """Note that ``examples`` of a row are done; return whether these are all."""
        share = examples / self.counts[name]
        if whole := share == 1:
            self.begun.pop(name, None)
            self.whole.add(name)
        else:
            self.begun[name] = share
        return whole

    @property
    def share(self) -> float:
        """The share that is done, in [0, 1]; every row counts the same."""
        return (len(self.whole) + sum(self.begun.values())) / len(self.counts)


class PartialRows:
    """Rows in a file that is written regularly, and sooner after a whole row than within one.

    Args:
        path: the file.
        every: seconds between two writes within a row; after a whole row at most one second.
        notice: called with a message if the file is damaged; the evaluation then starts again.
        settings: what decides the outcomes; rows that were kept under other settings are dropped.
        counts: the number of examples of each row; a file with more of them is not used.
    """

    def __init__(
        self,
        path: Path,
        every: float,
        notice: Callable[[str], None],
        settings: str = "",
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.path, self.every, self.last = path, every, time.monotonic()
        self.done: dict[str, BoolArray] = {}
        self.notes = NoteBook()
        self.label = path.with_name(path.name + ".settings")
        if settings and not self._same(settings):
            path.unlink(missing_ok=True)
            write_atomically(self.label, settings.encode())
        try:
            found = Outcomes.load(path)
            _check_lengths(path, found, counts or {})
            self.done, self.notes = dict(found.right), NoteBook(found.notes)
        except FileNotFoundError:
            pass
        except ValueError as error:
            notice(f"{error}; the evaluation starts again")

    def _same(self, settings: str) -> bool:
        return self.label.is_file() and self.label.read_text() == settings

    def keep(self, name: str, right: BoolArray, *, whole: bool) -> None:
        """Replace a row, and write the file if the last write is long enough ago.

        If the process is asked to stop, it stops after a write.
        """
        self.done[name] = right
        every = min(self.every, _SOON) if whole else self.every
        if time.monotonic() - self.last >= every or asked_to_stop():
            Outcomes(self.done, notes=tuple(self.notes)).save(self.path)
            self.last = time.monotonic()
            stop_if_asked()

    def remove(self) -> None:
        """Remove the files."""
        self.path.unlink(missing_ok=True)
        self.label.unlink(missing_ok=True)


def _check_lengths(path: Path, found: Outcomes, counts: Mapping[str, int]) -> None:
    """Raise if a row has more examples than the data."""
    for name, right in found.right.items():
        if len(right) > counts.get(name, len(right)):
            raise ValueError(
                f"{path} is not of this evaluation: it has {len(right)} examples of the row "
                f"{name!r}, which has {counts[name]}"
            )
