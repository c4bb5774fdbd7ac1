"""The Python files of which code of the user consists: its file, and those that it imports.

What is imported is read from the text of the files, so imports inside functions count too. Files of
Python itself, of installed packages and of morex do not belong to it.
"""

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path

from morex.core.files import digest_of, read_file

_INSTALLED = {"site-packages", "dist-packages"}
_STDLIB = Path(sysconfig.get_paths()["stdlib"]).resolve()
_MOREX = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Source:
    """A file of code of the user, as it was read.

    Args:
        module: the name under which it is imported; empty if it is not imported by name.
        path: the file, or the folder of an installed package.
        content: its content, which is what is executed; of an installed package, its checksums.
    """

    module: str
    path: Path
    content: bytes

    @property
    def is_package(self) -> bool:
        """Whether it is the ``__init__.py`` of a package."""
        return self.path.name == "__init__.py"

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Sources:
    """All files of some code of the user, the first one first."""

    files: tuple[Source, ...]

    @property
    def version(self) -> str:
        """16 hexadecimal digits that change with any file, and not with the place of the files."""
        first, *others = self.files or (Source("", Path(), b""),)
        if not others:
            return first.digest[:16]
        lines = sorted(f"{source.module} {source.digest}" for source in others)
        return hashlib.sha256("\n".join([first.digest, *lines]).encode()).hexdigest()[:16]


def of_file(path: Path) -> Sources:
    """Return a file and what it imports from its folder and from the user's part of ``sys.path``.

    Raises:
        OSError: if the file cannot be read.
    """
    return _with_imports([Source("", path, read_file(path))], [path.parent, *_folders()])


def of_module(name: str) -> Sources:
    """Return the files of ``package.module``.

    They are the module with its packages and what they import; of an installed package they are all
    of its files.
    """
    folders = [Path.cwd(), *_folders()]
    if own := [*_find(name, folders)]:
        return _with_imports(own[::-1], folders)
    return _installed(name.partition(".")[0])


def _installed(package: str) -> Sources:
    spec = PathFinder.find_spec(package)
    if spec is None:
        return Sources(())
    places = [Path(place) for place in spec.submodule_search_locations or [spec.origin or ""]]
    if any(_is_python(place) for place in places):
        return Sources(())
    files = [(place, path) for place in places for path in sorted(place.rglob("*.py")) or [place]]
    lines = [
        f"{path.relative_to(place)} {digest_of(path)}\n" for place, path in files if path.is_file()
    ]
    return Sources((Source("", places[0], "".join(lines).encode()),))


def _folders() -> list[Path]:
    """Return the user's part of ``sys.path``."""
    return [folder for folder in (Path(place or os.getcwd()) for place in sys.path) if _own(folder)]


def _own(path: Path) -> bool:
    """Return whether a path is the user's, not Python's, an installed package's or morex's."""
    path = path.resolve()
    installed = _INSTALLED.intersection(path.parts)
    return not (installed or _is_python(path) or _MOREX in (path, *path.parents))


def _is_python(path: Path) -> bool:
    """Return whether a path belongs to Python itself."""
    path = path.resolve()
    return _STDLIB in (path, *path.parents) and not _INSTALLED.intersection(path.parts)


def _with_imports(found: list[Source], folders: list[Path]) -> Sources:
    """Return files with all that they import, directly or not."""
    known = {source.path: source for source in found}
    queue = [*found]
    while queue:
        for name in _imported(queue.pop()):
            for source in _find(name, folders):
                if source.path not in known:
                    known[source.path] = source
                    queue.append(source)
    return Sources(tuple(known.values()))


def _imported(source: Source) -> Iterator[str]:
    """Yield the full names of all modules, and of names in modules, that a file imports."""
    try:
        tree = ast.parse(source.content)
    except (SyntaxError, ValueError):  # the import itself reports it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [_base(source, node.level), node.module or ""]))
            yield from (f"{base}.{alias.name}" for alias in node.names if base)


def _base(source: Source, level: int) -> str:
    """Return the package that a relative import starts from; empty for an absolute one."""
    if level == 0:
        return ""
    parts = source.module.split(".")
    up = level - source.is_package
    return ".".join(parts[: len(parts) - up])


def _find(name: str, folders: list[Path]) -> Iterator[Source]:
    """Yield the user's files that are executed for an import, packages first."""
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names:
        return
    for count, part in enumerate(parts, start=1):
        places = [(f / part / "__init__.py", f / part) for f in folders]
        places += [(f / f"{part}.py", f / part) for f in folders]
        path, folder = next((place for place in places if place[0].is_file()), (None, None))
        if path is not None and folder is not None:
            if not _own(path):
                return
            yield Source(".".join(parts[:count]), path.resolve(), read_file(path))
        folders = [folder] if folder else [f / part for f in folders if (f / part).is_dir()]
