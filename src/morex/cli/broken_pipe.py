"""The end of a command whose output nobody reads any more, as in ``morex recipes | head -1``."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CODE = 128 + 13
"""The exit code of a process that SIGPIPE ends, as shells show it."""

_STDOUT = 1


def output_is_unread(descriptor: int = _STDOUT) -> bool:
    """Return whether standard output is a pipe whose reader is gone."""
    state = select.poll()
    state.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in state.poll(0))


@contextmanager
def quiet_if_unread() -> Iterator[None]:
    """End the process without a message if the reader of its output is gone.

    The exit code is 141, as if SIGPIPE had ended the process. The signal itself stays ignored: it
    would also end a process that writes to a worker which has died.
    """
    try:
        output = os.dup(_STDOUT)  # rich closes the pipe before it exits
    except OSError:  # there is no standard output
        output = None
    code: str | int | None = 0
    try:
        yield
        if output is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = 1
    except SystemExit as end:
        code = end.code
    if code == 1 and output is not None and output_is_unread(output):
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # for what is flushed at exit
        code = _CODE
    sys.exit(code)
