"""Which code may run: what the user names, and what this user's own runs and models name.

Recipes are code: they may name a class or a factory in any Python file. Models are not. A
``model.json``, a ``set.json`` or the recipe beside a model may come from a stranger, and code that
it names runs only if the user says so, or if morex itself wrote the file for this user. Such files
carry a signature: an HMAC-SHA256 under a random key in the user's state folder. It covers the
content and the places of the files that the names stand for, so neither an edited file nor the same
file beside other code passes.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

_SCHEMES = ("hf://", "robustbench://")
_LENGTH = 32


class UntrustedCodeError(ValueError):
    """A file that may be a stranger's names code to run."""

    def __init__(self, source: object, code: Iterable[str]) -> None:
        super().__init__(
            f"{source} names code to run: {', '.join(code)}. It is not run, because this user's "
            "morex did not write that file here; if you trust it, give --trust-code (in Python, "
            "trust_code=True)"
        )


def code_named(content: object) -> tuple[str, ...]:
    """Return the code that the content of a recipe or of a ``model.json`` names, in order."""
    return tuple(dict.fromkeys(_references(content)))


def _references(content: object) -> Iterator[str]:
    left = [content]
    while left:  # not recursive: a stranger decides how deep it is
        part = left.pop()
        if isinstance(part, list | tuple):
            left.extend(reversed(part))
        elif isinstance(part, dict):
            left.extend(reversed(part.values()))
            yield from _references_in(part)


def _references_in(part: dict[Any, Any]) -> Iterator[str]:
    kind = part.get("kind")
    if not isinstance(kind, str):
        return
    if names_file(kind):
        yield kind
    if kind == "foreign":
        yield str(part.get("factory"))
    model = str(part.get("model", ""))
    if kind == "saved" and ":" in model and not is_address(model):
        yield model


def is_address(model: str) -> bool:
    """Return whether the name of a model is that of one on the hub or in RobustBench."""
    return model.startswith(_SCHEMES)


def names_file(kind: object) -> bool:
    """Return whether a kind names a class in a Python file, as ``path/to/file.py:Name``."""
    return isinstance(kind, str) and ".py:" in kind


def signature(text: str, code: Iterable[str]) -> str | None:
    """Return the signature of a text that names ``code``; None if the key cannot be kept."""
    try:
        key = _key(_key_file()) or _new_key(_key_file())
    except OSError:
        return None
    return _signed(key, text, code)


def is_signed(text: str, code: Iterable[str], found: object) -> bool:
    """Return whether ``found`` is the signature that this user's morex gives to a text."""
    with suppress(OSError):
        if (key := _key(_key_file())) and isinstance(found, str):
            return hmac.compare_digest(_signed(key, text, code).encode(), found.encode())
    return False


def _signed(key: bytes, text: str, code: Iterable[str]) -> str:
    places = [place for name in code for place in (name, _place(name))]
    content = "\0".join([text, *places]).encode("utf-8", "surrogatepass")
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _place(code: str) -> str:
    """Return the path of the file or package that a name stands for now; nothing is imported."""
    module, _, _ = code.rpartition(":")
    if module.endswith(".py"):
        return str(Path(module).resolve())
    spec = PathFinder.find_spec(module.partition(".")[0], [os.getcwd()]) or PathFinder.find_spec(
        module.partition(".")[0]
    )
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return os.pathsep.join(places)


def _key_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "morex" / "signing-key"


def _key(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        key = path.read_bytes()
        return key if len(key) == _LENGTH else None
    return None


def _new_key(path: Path) -> bytes:
    """Make the key; of two processes that do it at the same time, both return that of the first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
        if not _key(path):  # a disk was full once
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path.read_bytes()
