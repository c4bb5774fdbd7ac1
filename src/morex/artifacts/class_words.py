"""Words for classes: identifiers of WordNet, as in Tiny-ImageNet, and answers without a class."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

NOT_FINITE = -1
"""What is stored in place of a class where an answer was not finite: there is no largest logit."""

NOT_ASKED = -2
"""What stands in place of the class of an expert that a sparse mixture did not ask."""

_IDENTIFIER = re.compile(r"n\d{8}")


def word_of(name: str) -> str:
    """Return ``goldfish`` for ``n01443537``, and any other name of a class as it is."""
    return _words().get(name, name) if _IDENTIFIER.fullmatch(name) else name


def class_name(names: Sequence[str], label: int) -> str:
    """Return the name of a class, its number if it has none, or ``not finite``."""
    if label == NOT_FINITE:
        return "not finite"
    return names[label] if label < len(names) else str(label)


@cache
def _words() -> Mapping[str, str]:
    """Return the first word of every identifier of Tiny-ImageNet; no two have the same."""
    text = (files("morex") / "artifacts" / "wordnet.txt").read_text(encoding="utf-8")
    entries = (line.split("\t") for line in text.splitlines() if line and line[0] != "#")
    return {name: words.split(", ")[0] for name, words in entries}
