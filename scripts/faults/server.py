"""Starts commands of morex as processes that are forked after PyTorch is imported.

Each line of standard input is a ``Request`` as JSON. The answers are the number of the process, and
later its exit code.
"""

import errno
import fnmatch
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

HALF, BEFORE, AFTER = "half", "before", "after"
"""When a process kills itself: in the middle of a file, before the file has its name, or after."""


@dataclass(frozen=True)
class Request:
    """A command to run.

    Args:
        arguments: of ``morex``.
        errors: where standard error goes.
        file: the pattern of the file at which the process kills itself; empty if it does not.
        when: ``HALF``, ``BEFORE`` or ``AFTER``.
        nth: at which of the files that match, from 1.
        full: whether the disk is full at that file instead.
        seconds: after which the process is killed by SIGALRM; 0 for never.
        gib: how much memory it may have, in GiB; 0 for any.
    """

    arguments: list[str]
    errors: str
    file: str = ""
    when: str = AFTER
    nth: int = 1
    full: bool = False
    seconds: int = 0
    gib: int = 0


@dataclass
class _Fuse:
    """Kills this process at a file."""

    request: Request
    seen: dict[str, int] = field(default_factory=dict)

    def burn(self, path: str, when: str) -> bool:
        """Return whether the process has to be killed now."""
        name = Path(path).name.removeprefix(".").rpartition(".part")[0].rpartition(".")[0]
        name = name or Path(path).name
        request = self.request
        place = str(Path(path).parent / name)
        if when != request.when or not fnmatch.fnmatch(place, f"*/{request.file}"):
            return False
        self.seen[when] = self.seen.get(when, 0) + 1
        return self.seen[when] == request.nth

    def lay(self) -> None:
        """Watch every file that is written."""
        sync, replace = os.fsync, os.replace

        def fsync(fd: int) -> None:
            path = os.readlink(f"/proc/self/fd/{fd}")
            if self.burn(path, HALF):
                if self.request.full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
                os.ftruncate(fd, os.fstat(fd).st_size // 2)
                _die()
            sync(fd)

        def rename(source: Any, target: Any) -> None:
            if self.burn(os.fspath(source), BEFORE):
                _die()
            replace(source, target)
            if self.burn(os.fspath(target), AFTER):
                _die()

        os.fsync, os.replace = fsync, rename  # type: ignore[assignment]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _command(request: Request) -> int:
    """Run a command in this process and return its exit code."""
    from morex.cli.main import app

    if request.file:
        _Fuse(request).lay()
    if request.gib:
        resource.setrlimit(resource.RLIMIT_AS, (request.gib * 2**30, request.gib * 2**30))
    signal.alarm(request.seconds)
    try:
        app(request.arguments, prog_name="morex")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


def _child(request: Request) -> None:
    code = 1
    try:
        files = os.open(request.errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(files, 2)
        os.dup2(files, 1)
        code = _command(request)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Start what standard input asks for, one process at a time."""
    import morex.run.execute  # takes longer than the runs

    assert morex.run.execute
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = Request(**json.loads(line))
        process = os.fork()
        if process == 0:
            _child(request)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
