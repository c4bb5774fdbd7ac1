"""Stages side by side, each in a process that ends when the one that started it does."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from morex.core.stopping import GRACE
from morex.run.cores import visible_gpus
from morex.run.directory import RunError
from morex.run.failures import Failure, StageError, death, memory_kills
from morex.run.stage_process import Done, Job, Message, do_stages
from morex.run.stage_runner import StageRunner, Task
from morex.run.stages import Stage
from morex.run.workers import Result, Workers


class InProcesses(Workers):
    """Does several stages at a time, each in a process that ends when this one does.

    With several GPUs, each process sees only one of them.
    """

    def __init__(self, runner: StageRunner, count: int) -> None:
        self.runner, self.count = runner, count
        self.context = multiprocessing.get_context("spawn")
        self.idle: list[Connection] = []
        self.working: dict[Connection, Stage] = {}
        self.processes: dict[Connection, BaseProcess] = {}
        self.gpus = visible_gpus(runner.builder.device)
        self.gpu_of: dict[Connection, str | None] = {}
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
        gpu = self._gpu_for_another()
        arguments = (theirs, Job.of(self.runner), gpu)
        process = self.context.Process(target=do_stages, args=arguments, daemon=True)
        process.start()
        theirs.close()  # with no other copy open, reading fails once the process has ended
        self.processes[ours] = process
        self.gpu_of[ours] = gpu
        return ours, process

    def _gpu_for_another(self) -> str | None:
        """Return the GPU that the fewest living processes have; None if they choose none."""
        taken = [self.gpu_of.get(c) for c, p in self.processes.items() if p.is_alive()]
        return min(self.gpus, key=taken.count, default=None)

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
            message: Message = connection.recv()
        except (EOFError, OSError):
            raise self._death_of(stage, self.processes[connection]) from None
        match message:
            case Failure():
                raise message.of_stage(stage.id).error()
            case Done(stage_id, record):
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
