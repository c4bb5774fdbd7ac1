"""Signals that ask this process to end."""

import os
import signal
import time
from collections.abc import Callable

import pytest

import morex.core.stopping
from morex.core.stopping import (
    Stopped,
    asked_to_stop,
    kept_first,
    stop_if_asked,
    stopped_by_signals,
)


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python sees the signal


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt, match=number.name), stopped_by_signals():
        ask(number)
    assert signal.getsignal(number) == signal.SIG_DFL


def stop_of(work: Callable[[], None]) -> Stopped:
    """Return what a piece of work, which is kept first, raises."""
    with pytest.raises(Stopped) as caught, stopped_by_signals():
        work()
    return caught.value


def test_work_that_can_be_kept_goes_on_to_where_it_is_kept() -> None:
    reached = []

    def work() -> None:
        with kept_first():
            stop_if_asked()
            assert not asked_to_stop()
            ask()
            reached.append(asked_to_stop())
            stop_if_asked()
            reached.append(False)

    assert stop_of(work).number == signal.SIGTERM
    assert reached == [True]
    assert not asked_to_stop()


def test_work_that_is_never_kept_ends_with_its_block() -> None:
    reached = []

    def work() -> None:
        with kept_first():
            ask()
            reached.append("in the block")
        reached.append("after it")

    stop_of(work)
    assert reached == ["in the block"]


@pytest.mark.usefixtures("hangups")
def test_a_second_signal_does_not_wait() -> None:
    def work() -> None:
        with kept_first():
            ask()
            ask(signal.SIGHUP)
            pytest.fail("the second signal waits")

    assert stop_of(work).number == signal.SIGHUP


def test_the_grace_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        with kept_first():
            ask()
            time.sleep(30)
            pytest.fail("it goes on")

    monkeypatch.setattr(morex.core.stopping, "GRACE", 0.02)
    stop_of(work)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals():
            ask(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_repeats_a_signal_once_the_work_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> None:
        with kept_first():
            ask()

    monkeypatch.setattr(morex.core.stopping, "GRACE", 0.05)
    stop_of(work)
    with kept_first():  # a signal would end this process now
        time.sleep(0.1)
