"""What ended a stage or a process, as one sentence, whatever it was."""

import signal
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from morex.core.file_errors import in_words
from morex.run.directory import ERRORS, RunError
from morex.training import NotFiniteError

_PLAIN: tuple[type[RuntimeError], ...] = (RunError, NotFiniteError)
"""Errors whose message already says all that a user needs."""

_LONGEST = 2_000
"""Characters of an error's message that are shown; it may hold a whole tensor."""

_LONGEST_TRACEBACK = 100_000

_KILLS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))
"""Where Linux counts the processes that it killed because memory ran out."""


class StageError(RunError):
    """A stage failed; the message names the stage and the cause."""


@dataclass(frozen=True)
class Failure:
    """What ended a stage, as text: any process can send and receive it.

    Args:
        stage: id of the stage; empty if the process had none yet.
        reason: the error in words.
        plain: the place of its kind in ``_PLAIN``; None if it is of another kind.
        trace: its traceback.
        stopped: whether a signal asked its process to end.
    """

    stage: str
    reason: str
    plain: int | None
    trace: str
    stopped: bool = False

    @classmethod
    def of(cls, stage: str, error: BaseException) -> "Failure":
        """Return the failure of a stage by an error."""
        kinds = (i for i, kind in enumerate(_PLAIN) if isinstance(error, kind))
        plain = next(kinds, None)
        reason = _cut(_text(error), _LONGEST)
        if plain is None:
            reason = f"{type(error).__name__}: {reason}".rstrip(": ")
        return cls(stage, reason, plain, _trace(error))

    def of_stage(self, stage: str) -> "Failure":
        """Return the same failure; if the process had no stage yet, of the one it was for."""
        return self if self.stage else replace(self, stage=stage)

    def error(self) -> RuntimeError:
        """Return the error to raise; the traceback is a note on it."""
        if self.plain is not None:
            made = _PLAIN[self.plain](self.reason)
        else:
            where = f"(traceback: --debug, or {ERRORS} in the run)"
            made = StageError(f"{self.stage} failed: {self.reason} {where}")
        made.add_note(self.trace)
        return made


def trace_of(error: BaseException) -> str:
    """Return the traceback of an error: that of the process in which it arose, if it has one."""
    notes = getattr(error, "__notes__", ())
    return "\n".join(notes) or _trace(error)


def memory_kills() -> int | None:
    """Return how many processes the system killed because memory ran out; None if it is unknown."""
    counts = list[int]()
    for path in _KILLS:
        with suppress(OSError, ValueError):
            lines = (line.split() for line in path.read_text().splitlines())
            counts += [int(number) for name, number in lines if name == "oom_kill"]
    return sum(counts) if counts else None


def death(exit_code: int | None, kills: int | None) -> str:
    """Return how a process ended that said nothing.

    Args:
        exit_code: that of the process; minus the number of the signal that killed it.
        kills: how many processes the system killed meanwhile for lack of memory, if it is known.
    """
    again = "the same command resumes the run"
    if exit_code is None or exit_code >= 0:
        return (
            f"its process ended unexpectedly with exit code {exit_code}: it could not start (a "
            "script must call run under if __name__ == '__main__'), or code that it uses ended "
            f"it; {again}"
        )
    if exit_code != -signal.SIGKILL:
        known = {*map(int, signal.Signals)}
        name = signal.Signals(-exit_code).name if -exit_code in known else f"signal {-exit_code}"
        return f"its process ended unexpectedly by {name}; {again}"
    if kills:
        return f"memory ran out, and the system killed its process; use fewer --jobs; {again}"
    if kills == 0:
        return f"its process was killed by SIGKILL, and the system reports enough memory; {again}"
    return f"its process was killed by SIGKILL; {again}: use fewer --jobs if memory ran out"


def _text(error: BaseException) -> str:
    try:
        return in_words(error) if isinstance(error, OSError) else str(error)
    except Exception:
        return "(its message cannot be read)"


def _trace(error: BaseException) -> str:
    try:
        return _cut("".join(traceback.format_exception(error)), _LONGEST_TRACEBACK)
    except Exception:
        return "".join(traceback.format_tb(error.__traceback__))


def _cut(text: str, longest: int) -> str:
    """Return a text without its middle if it is too long."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"
