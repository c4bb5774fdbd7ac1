"""Pages of documentation as blocks of code, for the tests and for ``scripts/walk.sh``.

    python scripts/page_blocks.py README.md [--fewer]

writes the files that a page shows into the current folder, and prints what its reader types, one
command a line. ``--fewer`` reduces the numbers of epochs, images, queries and draws.
"""

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NOT_RUN = "# not run:"
LANGUAGES = ("python", "sh", "yaml", "text")
_FENCE = re.compile(r"^(?:`([^`\s]+)`:\n\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FEWER = (
    (re.compile(r"(epochs(?:=|: ))[\d.]+"), r"\g<1>0.1"),
    (re.compile(r"(examples(?:=|: | ))\d+"), r"\g<1>4"),
    (re.compile(r"(queries(?:=|: | ))\d+"), r"\g<1>10"),
    (re.compile(r"(draws(?:=|: ))\d\d"), r"\g<1>3"),
)


@dataclass(frozen=True)
class Block:
    """A block of code of a page; ``file`` is empty if none is named above it."""

    file: str
    language: str
    content: str

    @property
    def runs(self) -> bool:
        """Whether it is run, not only checked."""
        return not self.content.startswith(NOT_RUN)


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, each of a known language and none left out."""
    found = [Block(file, language, content) for file, language, content in _FENCE.findall(text)]
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(found)
    unknown = {block.language for block in found} - {*LANGUAGES}
    assert not unknown, f"blocks in {unknown}, expected {LANGUAGES}"
    return found


def fewer(text: str) -> str:
    """Return a block that does the same with fewer epochs, images, queries and draws."""
    for pattern, replacement in _FEWER:
        text = pattern.sub(replacement, text)
    return text


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the lines of a shell block as words, without comments."""
    for line in block.content.splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def script(page: Path, *, reduced: bool) -> Iterator[str]:
    """Write the files of a page into the current folder, and yield the commands of its reader.

    Its Python comes last, as one file.
    """
    smaller = fewer if reduced else str
    python = ""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.file:
            Path(block.file).write_text(smaller(block.content), encoding="utf-8")
        elif block.language == "sh" and block.runs:
            yield from (smaller(shlex.join(words)) for words in commands(block))
        elif block.language == "python" and block.runs:
            python += smaller(block.content)
    if python:
        name = f"page_{page.stem.replace('-', '_').lower()}.py"
        Path(name).write_text(python, encoding="utf-8")
        yield f"python {name}"


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--fewer", action="store_true")
    arguments = parser.parse_args()
    for line in script(arguments.page, reduced=arguments.fewer):
        print(line)


if __name__ == "__main__":
    main()
