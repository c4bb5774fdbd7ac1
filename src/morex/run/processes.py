"""Stages side by side, each in a process that ends when the one that started it does."""

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from os import _exit as end_process
from pathlib import Path
from typing import Any

import torch

from morex.artifacts.records import StageRecord
from morex.core.determinism import deterministic
from morex.core.stopping import GRACE, Stopped, kept_first, no_exit, stopped_by_signals
from morex.recipe import parse_recipe
from morex.run.directory import RunError
from morex.run.events import Event
from morex.run.failures import Failure, StageError, death, memory_kills
from morex.run.stage_runner import StageRunner, Task
from morex.run.stages import Stage
from morex.run.workers import Result, Workers


class InProcesses(Workers):
    """Does several stages at a time, each in a process that ends when this one does."""

    def __init__(self, runner: StageRunner, count: int) -> None:
        self.runner, self.count = runner, count
        self.context = multiprocessing.get_context("spawn")
        self.idle: list[Connection] = []
        self.working: dict[Connection, Stage] = {}
        self.processes: dict[Connection, BaseProcess] = {}
        self.kills = memory_kills()

    @property
    def busy(self) -> bool:
        """Whether any process has a stage."""
        return bool(self.working)

    @property
    def free(self) -> bool:
        """Whether a process is idle, or another one may be started."""
        return len(self.working) < self.count

    def begin(self, task: Task) -> None:
        """Give a stage to an idle process; start one if there is none.

        An idle process that has died is forgotten.
        """
        for connection in self._unused():
            try:
                connection.send(task)
            except OSError:
                continue
            self.working[connection] = task.stage
            return
        connection, process = self._start_process()
        self.working[connection] = task.stage
        try:
            connection.send(task)
        except OSError:
            raise self._death_of(task.stage, process) from None

    def _unused(self) -> Iterator[Connection]:
        while self.idle:
            connection = self.idle.pop()
            if self.processes[connection].is_alive():
                yield connection

    def _start_process(self) -> tuple[Connection, BaseProcess]:
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
        return ours, process

    def wait(self) -> list[Result]:
        """Hand the events of all processes to the observer until one has finished its stage."""
        results: list[Result] = []
        while self.working and not results:
            for connection in wait([*self.working]):
                assert isinstance(connection, Connection)
                results += self._receive(connection)
        return results

    def _receive(self, connection: Connection) -> list[Result]:
        """Take one message from a process; return the stage that it has finished, if any."""
        stage = self.working[connection]
        try:
            message: _Message = connection.recv()
        except (EOFError, OSError):
            raise self._death_of(stage, self.processes[connection]) from None
        match message:
            case Failure():
                raise message.of_stage(stage.id).error()
            case _Done(stage_id, record):
                del self.working[connection]
                self.idle.append(connection)
                return [(stage_id, record)]
            case event:
                self.runner.observer(event)
                return []

    def _death_of(self, stage: Stage, process: BaseProcess) -> RunError:
        process.join()  # its connection closes a little before it has an exit code
        now = memory_kills()
        more = None if now is None or self.kills is None else now - self.kills
        return StageError(f"{stage.id}: {death(process.exitcode, more)}")

    def stop(self) -> None:
        """End all processes; those with a stage may first keep what they have."""
        try:
            self._end_work()
        finally:
            for process in self.processes.values():
                process.kill()
            for process in self.processes.values():
                process.join()

    def _end_work(self) -> None:
        working = [self.processes[connection] for connection in self.working]
        for process in working:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in working:
            process.join(max(0.0, deadline - time.monotonic()))


@dataclass(frozen=True)
class _Done:
    """A process has finished a stage, or a part of one, which has no record."""

    stage_id: str
    record: StageRecord | None


_Message = Event | _Done | Failure
"""What a process sends to the one that started it."""


@dataclass
class _Doing:
    """What a process does now, for the message if it fails; empty until it has a stage."""

    stage: str = ""


def _do_stages(connection: Connection, *arguments: Any) -> None:
    """Do the stages that arrive until this process is ended, as happens when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    doing = _Doing()
    try:
        with stopped_by_signals():
            _serve(connection, doing, *arguments)
    except Stopped as error:
        failure = RunError(f"{doing.stage}: its process was asked to end ({error})")
        _send(connection, Failure.of(doing.stage, failure))
    except BaseException as error:
        _send(connection, Failure.of(doing.stage, error))


def _serve(
    connection: Connection,
    doing: _Doing,
    raw: dict[str, Any],
    root: Path,
    device: torch.device,
    checkpoint_every: float,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    with no_exit("starting a process"):
        recipe = parse_recipe(raw)
        runner = StageRunner.open(recipe, root, device, connection.send, checkpoint_every)
    with deterministic(recipe.deterministic, device):
        while task := _next_task(connection):
            doing.stage = task.stage.id
            with kept_first(), no_exit(doing.stage):
                record = runner.do(task)
            connection.send(_Done(doing.stage, record))


def _next_task(connection: Connection) -> Task | None:
    """Return the next stage to do; None if the parent has ended."""
    try:
        task: Task = connection.recv()
    except (EOFError, OSError):
        return None
    return task


def _send(connection: Connection, failure: Failure) -> None:
    with suppress(OSError):
        connection.send(failure)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        end_process(1)
