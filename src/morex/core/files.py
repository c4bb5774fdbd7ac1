"""Files that are either complete or absent, and checksums."""

import errno
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path

_MOST_UNPACKED = 2**30
NOT_REGULAR = "no regular file but a pipe, socket or device"


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: if it cannot be read, or is a pipe or a device: reading one may never end.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"this is {NOT_REGULAR}", os.fspath(path))
        return file.read()


def check_unpacked_size(archive: bytes) -> None:
    """Raise ``ValueError`` if a zip archive says that its files are larger than 1 GiB."""
    if not zipfile.is_zipfile(io.BytesIO(archive)):
        return
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        size = sum(member.file_size for member in packed.infolist())
    if size > _MOST_UNPACKED:
        raise ValueError(f"expected at most {_MOST_UNPACKED} bytes unpacked, got {size}")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def write_atomically(path: Path, *parts: bytes) -> None:
    """Write the parts one after the other; a kill at any moment leaves the old or the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)  # of a process that had the same number
        with open(temporary, "xb", opener=_no_link) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # left if the disk is full; gone after the rename


def _no_link(path: str, flags: int) -> int:
    """Open a file, but never through a symbolic link that somebody put in its place."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def write_with_digest(path: Path, content: bytes) -> None:
    """Write the SHA-256 of ``content`` and then ``content`` itself, for ``read_with_digest``."""
    write_atomically(path, hashlib.sha256(content).digest(), content)


def read_with_digest(path: Path) -> bytes:
    """Return the content that ``write_with_digest`` wrote.

    Raises:
        ValueError: if the file is damaged.
        OSError: if it cannot be read.
    """
    whole = read_file(path)
    digest, content = whole[:32], whole[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged: its content does not match its checksum")
    return content


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_all(digests: Iterable[str]) -> str:
    """Return one SHA-256, in hexadecimal, for several in their order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()
