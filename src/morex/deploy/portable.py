"""What leaves this machine without the names of its folders."""

import re
from typing import Any

_PART = r"[^\s/\"'`|<>:,;()\[\]{}]+"
_PLACE = re.compile(rf"(?<![\w.:/~<>-])~?(?:/{_PART})+/({_PART})")


def portable(content: Any) -> Any:
    """Return JSON values in which the last part of a path stands for the path.

    A path is absolute, begins at the home folder, or leaves a folder by ``..``. Addresses such as
    ``https://`` and relative paths stay as they are.
    """
    if isinstance(content, dict):
        return {key: portable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [portable(value) for value in content]
    return _portable_text(content) if isinstance(content, str) else content


def _portable_text(text: str) -> str:
    if text.startswith(("/", "~/", "../")) or "/../" in text:
        return text.rstrip("/").rpartition("/")[2]
    return _PLACE.sub(r"\1", text)
