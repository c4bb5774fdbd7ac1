"""Words for classes whose names are identifiers of WordNet, such as those of Tiny-ImageNet."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_IDENTIFIER = re.compile(r"n\d{8}")


def word_of(name: str) -> str:
    """Return ``goldfish`` for ``n01443537``, and any other name of a class as it is."""
    return _words().get(name, name) if _IDENTIFIER.fullmatch(name) else name


@cache
def _words() -> Mapping[str, str]:
    """Return the first word of every identifier of Tiny-ImageNet; no two have the same."""
    text = (files("morex") / "artifacts" / "wordnet.txt").read_text(encoding="utf-8")
    entries = (line.split("\t") for line in text.splitlines() if line and line[0] != "#")
    return {name: words.split(", ")[0] for name, words in entries}
