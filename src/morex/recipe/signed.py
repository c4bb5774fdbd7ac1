"""Recipes that runs keep: signed, if they name code; see ``core/trust.py``."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from morex.core.trust import UntrustedCodeError, code_named, is_signed, signature
from morex.recipe.read_yaml import to_yaml

_SIGNED = "# signature: "


def signed_yaml(content: Mapping[str, Any]) -> str:
    """Return a recipe as YAML, with a signature as its last line if it names code."""
    text, code = to_yaml(content), code_named(content)
    found = signature(text, code) if code else None
    return f"{text}{_SIGNED}{found}\n" if found else text


def is_signed_file(path: Path, content: Mapping[str, Any]) -> bool:
    """Return whether a file is what this user's morex wrote here with ``signed_yaml``.

    Args:
        path: the file.
        content: what it holds.
    """
    with suppress(OSError, UnicodeDecodeError):
        text, mark, found = path.read_text(encoding="utf-8").rpartition(_SIGNED)
        return bool(mark) and is_signed(text, code_named(content), found.strip())
    return False


def check_no_code(content: Mapping[str, Any], source: object) -> None:
    """Raise ``UntrustedCodeError`` if the content of a recipe names code."""
    if code := code_named(content):
        raise UntrustedCodeError(source, code)
