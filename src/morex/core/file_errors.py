"""Why a file cannot be read or written, in words instead of numbers."""

import os
from pathlib import Path

from morex.core.near import nearest


def in_words(error: OSError) -> str:
    """Return the path of an error and what is wrong with it, with a near name if there is one.

    An error that names no path, such as one of a download, keeps its message.
    """
    path = error.filename
    if not isinstance(path, str | os.PathLike):
        return str(error)
    return f"{os.fspath(path)}: {reason(error)}{near_file(Path(path))}"


def reason(error: OSError) -> str:
    """Return what is wrong with the file that an error is about, without its path."""
    match error:
        case FileNotFoundError():
            return "no such file or folder"
        case IsADirectoryError():
            return "this is a folder, expected a file"
        case NotADirectoryError():
            return "a part of this path is a file, expected a folder"
        case FileExistsError():
            return "this is a file, expected a folder"
        case PermissionError():
            return "permission denied; let this user read or write it"
    return (error.strerror or str(error) or type(error).__name__).lower()


def near_file(path: Path) -> str:
    """Return that a folder on the way to a missing file is missing, or which name is near.

    Empty if the file exists, or nothing is near.
    """
    missing = path
    while not os.path.lexists(missing.parent) and missing.parent != missing:
        missing = missing.parent
    if os.path.lexists(missing) or not missing.parent.is_dir():
        return ""
    near = nearest(missing.name, _names_in(missing.parent))
    no_folder = "" if missing == path else f"; there is no folder {os.fspath(missing)!r}"
    guess = f"; did you mean {os.fspath(missing.parent / near)!r}?" if near else ""
    return no_folder + guess


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
