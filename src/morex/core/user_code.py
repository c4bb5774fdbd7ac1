"""Code of the user, named as ``path/to/file.py:name`` or as ``package.module:name``.

``object_named`` is the only place where code that a recipe, a command or a saved model names is
executed. Callers decide whether they trust the name.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from morex.core.near import did_you_mean
from morex.core.snapshots import OtherModuleError, serve
from morex.core.source_files import Sources, of_file, of_module
from morex.core.stopping import ExitedError, no_exit
from morex.core.trust import names_file

_executed: dict[str, Sources] = {}
"""What this process executes for each name."""

_Result = TypeVar("_Result")


class UserCodeError(ValueError):
    """Code of the user cannot be found, imported or called."""


def absolute(name: str) -> str:
    """Return a name that stands for the same code in every working directory.

    A path becomes absolute. The name of a module stays as it is.
    """
    if not names_file(name):
        return name
    path, _, attribute = name.rpartition(":")
    return f"{Path(path).expanduser().resolve()}:{attribute}"


class UserCode(NamedTuple):
    """What a name stands for.

    Attributes:
        value: the class, function or other object.
        version: of its files, 16 digits of a SHA-256.
    """

    value: Any
    version: str


def object_named(name: str) -> UserCode:
    """Import what ``path/to/file.py:name`` or ``package.module:name`` stands for.

    A file is executed once for each version of its content and of the modules that it imports from
    its folder. Modules in the current folder are found as well as those that are installed.

    Raises:
        UserCodeError: if there is no such file, module or name, or the import fails.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise UserCodeError(
            f"{name!r}: expected package.module:factory or path/to/file.py:factory, such as "
            "net.py:make"
        )
    sources = sources_of(name)
    try:
        serve(sources)
    except OtherModuleError as error:
        raise UserCodeError(f"{name}: {error}") from None
    module = _of_file(name, sources) if names_file(name) else _of_package(name, place)
    _executed[absolute(name)] = sources
    try:
        return UserCode(getattr(module, attribute), sources.version)
    except AttributeError:
        names = [other for other in vars(module) if not other.startswith("_")]
        raise UserCodeError(
            f"{name}: {place} defines no {attribute!r}; "
            f"{did_you_mean(attribute, names)}correct the name after the colon"
        ) from None


def sources_of(name: str) -> Sources:
    """Return the files of the code that a name stands for, as they are now; none is executed.

    Raises:
        UserCodeError: if there is no such file.
    """
    place = name.rpartition(":")[0]
    if not names_file(name):
        return of_module(place)
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise UserCodeError(f"{name}: there is no file {place!r} in {Path.cwd()}")
    return of_file(path)


def executed_sources(name: str) -> Sources:
    """Return the files that this process executes for a name, or would execute now."""
    return _executed.get(absolute(name)) or sources_of(name)


def called(what: str, call: Callable[[], _Result]) -> _Result:
    """Return the result of code of the user, whatever it raises.

    Args:
        what: what it does, which begins the message.
        call: calls the code.

    Raises:
        UserCodeError: if it raises anything, ``SystemExit`` included.
    """
    try:
        with no_exit(what):
            return call()
    except ExitedError as error:
        raise UserCodeError(str(error)) from error
    except Exception as error:
        raise UserCodeError(f"{what}: {type(error).__name__}: {error}") from error


def _of_file(name: str, sources: Sources) -> ModuleType:
    path, version = sources.files[0].path, sources.version
    module_name = f"morex_own_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{version}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = spec_from_file_location(module_name, path)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[module_name] = module  # where dataclasses look up their module
    try:
        # compiled from what its version is made of: the file may change meanwhile
        called(
            f"{name}: importing {name.rpartition(':')[0]}",
            lambda: exec(compile(sources.files[0].content, str(path), "exec"), module.__dict__),
        )
    except UserCodeError:
        del sys.modules[module_name]
        raise
    return module


def _of_package(name: str, place: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return called(name, lambda: import_module(place))
