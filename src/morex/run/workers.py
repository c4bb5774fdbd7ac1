"""Where the stages of a run are done: in this process, or in several processes side by side.

Stages exchange data only through the run directory, so where they are done does not change results.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from morex.artifacts.records import StageRecord
from morex.core.threads import threads
from morex.recipe import parse_recipe
from morex.run.directory import RunError
from morex.run.events import Event
from morex.run.stage_runner import StageRunner
from morex.run.stages import Stage

Result = tuple[str, StageRecord]
"""The id of a finished stage, and its record."""


class Workers(ABC):
    """Does stages. Used in a ``with`` statement, it stops them at the end of the block."""

    count: int
    """How many stages can be in progress at a time."""

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a stage is in progress."""

    @property
    @abstractmethod
    def free(self) -> bool:
        """Whether another stage can begin."""

    @abstractmethod
    def begin(self, stage: Stage, key: str) -> None:
        """Begin a stage; there must be a free worker."""

    @abstractmethod
    def wait(self) -> list[Result]:
        """Wait until a stage in progress is finished, and return what has been finished.

        Returns at once, with an empty list, if no stage is in progress.

        Raises:
            Exception: the error that ended a stage.
        """

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop all stages in progress."""
        self.stop()

    @abstractmethod
    def stop(self) -> None:
        """Stop all stages in progress; they can resume from their checkpoints."""


class InThisProcess(Workers):
    """Does one stage at a time in this process."""

    count = 1

    def __init__(self, runner: StageRunner) -> None:
        self.runner = runner
        self.next: tuple[Stage, str] | None = None

    @property
    def busy(self) -> bool:
        """Whether a stage waits to be done."""
        return self.next is not None

    @property
    def free(self) -> bool:
        """Whether no stage waits to be done."""
        return self.next is None

    def begin(self, stage: Stage, key: str) -> None:
        """Remember the stage; ``wait`` does it."""
        self.next = stage, key

    def wait(self) -> list[Result]:
        """Do the stage that was begun."""
        if self.next is None:
            return []
        (stage, key), self.next = self.next, None
        return [(stage.id, self.runner.do(stage, key))]

    def stop(self) -> None:
        """Do nothing: nothing runs in the background."""


class InProcesses(Workers):
    """Does several stages at a time, each in a process that ends when this one does."""

    def __init__(self, runner: StageRunner, count: int) -> None:
        self.runner, self.count = runner, count
        self.context = multiprocessing.get_context("spawn")
        self.idle: list[Connection] = []
        self.working: list[Connection] = []
        self.processes: dict[Connection, BaseProcess] = {}

    @property
    def busy(self) -> bool:
        """Whether any process has a stage."""
        return bool(self.working)

    @property
    def free(self) -> bool:
        """Whether a process is idle, or another one may be started."""
        return len(self.working) < self.count

    def begin(self, stage: Stage, key: str) -> None:
        """Give a stage to an idle process; start one if there is none."""
        connection = self.idle.pop() if self.idle else self._start_process()
        connection.send((stage, key))
        self.working.append(connection)

    def _start_process(self) -> Connection:
        ours, theirs = self.context.Pipe()
        builder = self.runner.builder
        arguments = (
            theirs,
            builder.recipe.model_dump(mode="json"),
            self.runner.directory.root,
            builder.device,
            self.runner.checkpoint_every,
            torch.get_num_threads(),
        )
        process = self.context.Process(target=_do_stages, args=arguments, daemon=True)
        process.start()
        theirs.close()  # with no other copy open, reading fails once the process has ended
        self.processes[ours] = process
        return ours

    def wait(self) -> list[Result]:
        """Hand the events of all processes to the observer until one has finished its stage."""
        results: list[Result] = []
        while self.working and not results:
            for connection in wait(self.working):
                assert isinstance(connection, Connection)
                results += self._receive(connection)
        return results

    def _receive(self, connection: Connection) -> list[Result]:
        """Take one message from a process; return the stage that it has finished, if any."""
        try:
            message: _Message = connection.recv()
        except EOFError:
            raise self._death_of(self.processes[connection]) from None
        match message:
            case _Failed(error):
                raise error
            case _Done(stage_id, record):
                self.working.remove(connection)
                self.idle.append(connection)
                return [(stage_id, record)]
            case event:
                self.runner.observer(event)
                return []

    def _death_of(self, process: BaseProcess) -> RunError:
        process.join()  # its connection closes a little before it has an exit code
        return RunError(
            f"a process of this run ended unexpectedly (exit code {process.exitcode}; -9 often "
            "means that memory ran out); the same command resumes the run: use fewer --jobs if "
            "memory ran out"
        )

    def stop(self) -> None:
        """Kill all processes and wait until they have ended."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.join()


@dataclass(frozen=True)
class _Done:
    """A process has finished a stage."""

    stage_id: str
    record: StageRecord


@dataclass(frozen=True)
class _Failed:
    """A process had to stop because of an error."""

    error: Exception


_Message = Event | _Done | _Failed
"""What a process sends to the one that started it."""


def _do_stages(
    connection: Connection,
    raw: dict[str, Any],
    root: Path,
    device: torch.device,
    checkpoint_every: float,
    count: int,
) -> None:
    """Do the stages that arrive until this process is killed, as happens when its parent ends."""
    recipe = parse_recipe(raw)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(count)
    try:
        with threads(recipe.threads):  # once more: here it is a choice of the recipe
            runner = StageRunner.open(recipe, root, device, connection.send, checkpoint_every)
            while True:
                stage, key = connection.recv()
                connection.send(_Done(stage.id, runner.do(stage, key)))
    except EOFError:
        return
    except Exception as error:
        error.add_note(traceback.format_exc())  # tracebacks are lost between processes
        connection.send(_Failed(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
