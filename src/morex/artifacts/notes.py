"""Notes: what an evaluation noticed about a model besides its outcomes, in numbers of images.

A figure may be right and still need a remark: a model that answers NaN to everything has 0.0%, and
so has one that is merely bad; a search along gradients that are zero finds nothing.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from morex.core.strict_json import parse_json

What = Literal[
    "answers not finite", "gradients not finite", "gradients zero", "fooled in bfloat16 only"
]

SENTENCES: dict[str, str] = {
    "answers not finite": "the answers to {} of {} images were not finite; they count as wrong",
    "gradients not finite": "gradients were not finite on {} of {} images; the search went on with "
    "0 for NaN and the largest number for infinity",
    "gradients zero": "the gradient of the loss was zero on {} of {} images, so the search was "
    "blind there; use attacks without gradients, or a loss that does not depend on the scale of "
    "the logits, such as the margin",
    "fooled in bfloat16 only": "the search in bfloat16 fooled only the rounded model on {} of {} "
    "images; these were attacked again in float32",
}
"""What each kind of note says, with the number of images and of all images."""


@dataclass(frozen=True)
class Note:
    """What was noticed in one row of an evaluation.

    Attributes:
        row: name of the row.
        what: what was noticed, a key of ``SENTENCES``.
        images: on how many images.
        of: how many images the row covers.

    Raises:
        ValueError: if the kind is unknown or the numbers do not fit.
    """

    row: str
    what: What
    images: int
    of: int

    def __post_init__(self) -> None:
        """Check kind and numbers."""
        if self.what not in SENTENCES or not 0 < self.images <= self.of:
            raise ValueError(f"expected a known note on some of the images, got {self}")


class NoteBook:
    """The notes of an evaluation that is under way; one per row and kind, in their order."""

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        self._notes = {(note.row, note.what): note for note in notes}

    def __iter__(self) -> Iterator[Note]:
        """Yield the notes."""
        yield from self._notes.values()

    def count(self, row: str, what: What) -> int:
        """Return on how many images of a row this was noticed so far."""
        note = self._notes.get((row, what))
        return note.images if note else 0

    def write(self, row: str, what: What, images: int, of: int) -> None:
        """Replace the note of this row and kind; no images leave no note."""
        if images:
            self._notes[row, what] = Note(row, what, images, of)

    def on(self, rows: Iterable[str]) -> tuple[Note, ...]:
        """Return the notes on some rows."""
        wanted = {*rows}
        return tuple(note for note in self if note.row in wanted)

    def take(self, notes: Iterable[Note], rows: Iterable[str]) -> None:
        """Replace the notes on some rows by those among ``notes``."""
        wanted = {*rows}
        kept = [note for note in self if note.row not in wanted]
        self._notes = NoteBook([*kept, *NoteBook(notes).on(wanted)])._notes


def sentences(notes: Iterable[Note]) -> list[str]:
    """Return the notes in words, one sentence for all rows that say the same."""
    rows: dict[str, list[str]] = {}
    for note in notes:
        rows.setdefault(SENTENCES[note.what].format(note.images, note.of), []).append(note.row)
    return [f"{', '.join(names)}: {said}" for said, names in rows.items()]


def content(notes: Iterable[Note]) -> list[dict[str, Any]]:
    """Return the notes as they are written to JSON."""
    return [asdict(note) for note in notes]


def to_json(notes: Iterable[Note]) -> bytes:
    """Return the notes as JSON."""
    return json.dumps(content(notes)).encode()


def from_json(text: bytes) -> tuple[Note, ...]:
    """Return the notes that ``to_json`` wrote.

    Raises:
        ValueError, TypeError: if the text is something else.
    """
    return tuple(Note(**entry) for entry in parse_json(text))
