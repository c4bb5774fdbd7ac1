"""Signals that ask a process to end, and code that ends it unasked.

Schedulers such as Slurm and Kubernetes send SIGTERM, a closed terminal sends SIGHUP. Both are
treated as Ctrl-C, except that work which can be kept is kept first.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

GRACE = 10.0
"""Seconds that work may go on after a signal, to reach a point where it can be kept."""

_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end.

    Args:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class ExitedError(Exception):
    """Code of the user tried to end the process."""


@dataclass
class _State:
    """What this process was asked, and whether its work wants to be kept first.

    ``alarm`` repeats the signal when the grace is over.
    """

    asked: int | None = None
    deferred: bool = False
    alarm: threading.Timer | None = None


_state = _State()


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within the block, signals that ask the process to end raise ``Stopped``.

    Signals that are ignored stay ignored, as under nohup. Only a main thread receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _receive)
    try:
        yield
    finally:
        if _state.alarm:
            _state.alarm.cancel()
            _state.alarm.join()  # else it may repeat the signal when nothing receives it
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        _state.asked = _state.alarm = None


@contextmanager
def kept_first() -> Iterator[None]:
    """Within the block, a signal waits until ``stop_if_asked``, the block's end, or ``GRACE``.

    A second signal does not wait.
    """
    _state.deferred = True
    try:
        yield
    finally:
        _state.deferred = False
        if _state.alarm:
            _state.alarm.cancel()
    stop_if_asked()


def asked_to_stop() -> bool:
    """Return whether a signal waits: work that can be kept should be kept now."""
    return _state.asked is not None


def stop_if_asked() -> None:
    """Raise ``Stopped`` if a signal waits."""
    if _state.asked is not None:
        raise Stopped(_state.asked)


def _receive(number: int, frame: FrameType | None) -> None:
    if not _state.deferred or _state.asked is not None:
        raise Stopped(number)
    _state.asked = number
    _state.alarm = threading.Timer(GRACE, os.kill, (os.getpid(), number))
    _state.alarm.daemon = True
    _state.alarm.start()


@contextmanager
def no_exit(doing: str) -> Iterator[None]:
    """Within the block, code that tries to end the process raises ``ExitedError``.

    An exit of 0 from a perturbation or a model of the user would pass for success.

    Args:
        doing: what is being done, for the message.
    """
    process, leave = os.getpid(), os._exit

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:  # a fork ends in this way
            leave(status)
        raise ExitedError(f"{doing}: code that it uses called os._exit({status})")

    os._exit = refuse
    try:
        yield
    except SystemExit as error:
        raise ExitedError(f"{doing}: code that it uses called sys.exit({error.code!r})") from error
    finally:
        os._exit = leave
