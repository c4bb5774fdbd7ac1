"""Something that is done again and again beside a run."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

MOMENT = 0.2
"""Seconds from a call of ``now`` to the action: what has just been finished is written down too."""


class Repeated:
    """Does something every few seconds in a thread, from the start of a block to its end.

    Args:
        action: what to do; it must not raise.
        every: seconds between two times.
    """

    def __init__(self, action: Callable[[], None], every: float) -> None:
        self.action, self.every = action, every
        self._ended, self._now = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)

    def now(self) -> None:
        """Do it soon."""
        self._now.set()

    def _go(self) -> None:
        while True:
            self._now.wait(self.every)
            if self._ended.is_set():
                return
            self._now.clear()
            self._ended.wait(MOMENT)
            self.action()

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Wait for what is being done, and end."""
        self._ended.set()
        self._now.set()
        self._thread.join()
