"""An extension of griffe that turns the tables in docstrings into Markdown."""

import re
from typing import Any

import griffe

_RULE = re.compile(r"^=+(?: +=+)+$")


class DocstringTables(griffe.Extension):
    """Rewrites simple tables, whose columns lie between rules of equals signs."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return text in which tables between rules are Markdown tables without a head."""
    lines: list[str] = []
    starts: list[int] = []
    for line in text.splitlines():
        if not _RULE.match(line):
            lines.append(_row(line, starts) if starts else line)
        elif starts:
            starts = []
        else:
            starts = [found.start() for found in re.finditer("=+", line)]
            lines += ["|" + "   |" * len(starts), "|" + " --- |" * len(starts)]
    return "\n".join(lines)


def _row(line: str, starts: list[int]) -> str:
    first, *_ = starts
    cells = re.split(r" {2,}", line[first:].strip(), maxsplit=len(starts) - 1)
    return f"| {' | '.join(cells)} |"
