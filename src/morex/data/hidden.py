"""Which files and folders were left by a program, and are no data."""

from pathlib import Path

_LEFT_BY_PROGRAMS = frozenset({"__MACOSX", "__pycache__", "@eaDir"})


def is_hidden(path: Path, root: Path) -> bool:
    """Return whether ``path``, or a folder between it and ``root``, is hidden.

    Hidden are names that start with a dot, such as .ipynb_checkpoints and .DS_Store, and folders
    that programs leave in a data set, such as __MACOSX. The folders above ``root`` do not count.
    """
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part in _LEFT_BY_PROGRAMS for part in parts)
