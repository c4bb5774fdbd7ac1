"""Report pages, taken apart."""

import re
from html.parser import HTMLParser
from pathlib import Path

from morex.report.material import read_material
from morex.report.page import to_report


class Reader(HTMLParser):
    """Takes a page apart: tables as rows of text, all text, attributes by name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.in_cell:
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def table(self, first: str) -> list[list[str]]:
        """Return the first table whose head begins with a word."""
        return next(t for t in self.tables if t[0][0].strip() == first)


def page(run: Path) -> str:
    return to_report(read_material(run))


def shown(run: Path) -> Reader:
    return Reader(page(run))


def places(drawing: str) -> dict[str, tuple[float, float]]:
    """Return where the marks of a drawing start, by the text shown on hover."""
    found = re.findall(r'<path d="M(-?[\d.]+),(-?[\d.]+)[^>]*><title>([^<]+)</title>', drawing)
    assert found
    return {tip: (float(x), float(y)) for x, y, tip in found}
