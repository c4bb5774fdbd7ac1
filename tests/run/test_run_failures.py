"""Stages that fail, by whatever error, exit or signal: the message names stage and cause."""

import os
import pickle
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from own_code import own_recipe
from tiny import CPU, rerun, tiny

from morex.core.stopping import ExitedError, no_exit
from morex.recipe import parse_recipe
from morex.run import RunError, run
from morex.run.events import ignore
from morex.run.failures import Failure, StageError, death
from morex.run.processes import InProcesses
from morex.run.stage_runner import StageRunner, Task
from morex.training import NotFiniteError

pytestmark = pytest.mark.usefixtures("one_thread")

RAISED = [
    ("raise Odd(1, 2)", "train-mown failed: Odd: boom"),
    ("raise Mute()", "train-mown failed: Mute: .*cannot be read"),
    ("raise EOFError('end')", "train-mown failed: EOFError: end"),
    ("raise ValueError('x' * 10**7)", r"train-mown failed: ValueError: x+ \[\.\.\. 99\d+ char"),
    ("sys.exit(0)", r"train-mown: code that it uses called sys\.exit\(0\)"),
    ("os._exit(0)", r"train-mown: code that it uses called os\._exit\(0\)"),
]


@pytest.mark.parametrize(("does", "message"), RAISED)
def test_whatever_ends_a_stage_is_named_with_the_stage(
    does: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match=message) as caught:
        run(parse_recipe(own_recipe(tmp_path, does)), tmp_path / "run", jobs=1)
    assert len(str(caught.value)) < 3000
    log = (tmp_path / "run" / "errors.log").read_text()
    assert "mine.py" in log
    assert "in __call__" in log


@pytest.mark.parametrize(
    ("does", "message"),
    [
        RAISED[0],
        ("raise KeyboardInterrupt", "train-mown failed: KeyboardInterrupt"),
        ("ctypes.CDLL(None)._exit(0)", "train-mown: its process ended .* with exit code 0"),
    ],
)
def test_whatever_ends_another_process_is_named_with_the_stage(
    does: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=message):
        run(parse_recipe(own_recipe(tmp_path, does)), tmp_path / "run", jobs=2)
    log = (tmp_path / "run" / "errors.log").read_text()
    assert ("in __call__" in log) == ("failed" in message)


def test_a_process_that_cannot_start_names_the_stage_and_the_cause(tmp_path: Path) -> None:
    recipe = parse_recipe(own_recipe(tmp_path, "pass"))
    (tmp_path / "mine.py").write_text("1 / 0")
    with pytest.raises(StageError, match=r"train-mown failed: RecipeError: [^#]*ZeroDivisionError"):
        run(recipe, tmp_path / "run", jobs=2)


def test_the_log_is_there_only_after_an_error_and_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StageError):
            run(parse_recipe(own_recipe(tmp_path, "1 / 0")), tmp_path / "run", jobs=1)
    log = (tmp_path / "run" / "errors.log").read_text()
    assert log.count("ZeroDivisionError: division by zero") == 2
    rerun(tmp_path / "run", own_recipe(tmp_path, "pass"))
    assert (tmp_path / "run" / "errors.log").read_text() == log


class LocalError(Exception):
    """An error of a user, which could not be sent as it is."""

    def __init__(self, text: str, extra: object) -> None:
        super().__init__(text)
        self.extra = lambda: extra


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (LocalError("a", "b"), StageError, "train-x failed: LocalError: a "),
        (KeyError("k"), StageError, "train-x failed: KeyError: 'k' "),
        (ValueError(), StageError, "train-x failed: ValueError "),
        (NotFiniteError("train-x: not finite"), NotFiniteError, "train-x: not finite$"),
        (RunError("in use"), RunError, "in use$"),
    ],
)
def test_failures_travel_between_processes(
    error: Exception, kind: type[Exception], message: str
) -> None:
    found = pickle.loads(pickle.dumps(Failure.of("train-x", error))).error()
    assert type(found) is kind
    assert re.match(message, str(found))
    assert type(error).__name__ in "".join(found.__notes__)


@pytest.mark.parametrize(
    ("code", "kills", "message"),
    [
        (0, 0, "exit code 0"),
        (-signal.SIGKILL, 2, "memory ran out"),
        (-signal.SIGKILL, 0, "killed by SIGKILL, and the system reports enough memory"),
        (-signal.SIGKILL, None, "killed by SIGKILL; .* if memory ran out"),
        (-signal.SIGSEGV, 0, "by SIGSEGV"),
        (-60, 0, "by signal 60"),
    ],
)
def test_how_a_process_ended(code: int, kills: int | None, message: str) -> None:
    assert re.search(message, death(code, kills))


class FakeProcess:
    def __init__(self, *, alive: bool) -> None:
        self.alive = alive

    def is_alive(self) -> bool:
        return self.alive

    def kill(self) -> None:
        self.alive = False

    def join(self) -> None:
        pass


class FakeConnection:
    def __init__(self, *, broken: bool) -> None:
        self.broken, self.sent = broken, list[object]()

    def send(self, message: object) -> None:
        if self.broken:
            raise BrokenPipeError
        self.sent.append(message)


def test_an_idle_process_that_died_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = StageRunner.open(tiny("clean"), tmp_path, CPU, ignore, 30.0)
    workers = InProcesses(runner, 3)
    dead, dying, new = (FakeConnection(broken=b) for b in (False, True, False))
    made: list[Any] = [(dead, False), (dying, True), (new, True)]
    workers.processes = {c: FakeProcess(alive=alive) for c, alive in made}
    workers.idle = [dead, dying]  # type: ignore[list-item]
    monkeypatch.setattr(workers, "_start_process", lambda: (new, workers.processes[new]))  # type: ignore[index]
    stage = runner.builder.stages["train-clean"]
    workers.begin(Task(stage, "key", {}))
    assert new.sent == [Task(stage, "key", {})]
    assert not dead.sent
    assert not workers.idle
    assert [*workers.working.values()] == [stage]


def test_an_error_of_the_observer_is_not_that_of_a_stage(tmp_path: Path) -> None:
    def stop(event: object) -> None:
        raise LookupError(event)

    with pytest.raises(LookupError):
        run(tiny("clean"), tmp_path, observer=stop, jobs=1)


def test_only_this_process_is_kept_from_exiting() -> None:
    leave = os._exit
    with pytest.raises(ExitedError, match=r"here: .* os\._exit\(3\)"), no_exit("here"):
        os._exit(3)
    with no_exit("here"):
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert os._exit is leave
