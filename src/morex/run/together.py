"""A run whose trainings have several processes each, which a launcher has started.

The first process does the run: it holds the lock, plans, and writes. It hands every training to the
other processes too, and each of them does a part of every evaluation.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from morex.core.stopping import kept_first
from morex.evaluation.batches import Part
from morex.run.directory import RunError
from morex.run.events import Event
from morex.run.failures import Failure, StageError
from morex.run.launched import Group
from morex.run.parts import most_parts
from morex.run.stage_process import Done, Job, Message, check_place, do_stages
from morex.run.stage_runner import StageRunner, Task
from morex.run.workers import InThisProcess, Result, Workers

_PATIENCE = 60.0
"""Seconds that network storage may take to show a file that another machine has written."""

_LAST_WORDS = 3.0
"""Seconds to wait for what a process says that has left the group."""


class Together(Workers):
    """Does one stage at a time, with the other processes of a group.

    Args:
        runner: of this process, the first of the group.
        group: the processes.
    """

    count = 1

    def __init__(self, runner: StageRunner, group: Group) -> None:
        self.here, self.group, self.published = InThisProcess(runner), group, 0
        group.put("job", Job.of(runner, _PATIENCE))

    @property
    def busy(self) -> bool:
        """Whether a stage waits to be done."""
        return self.here.busy

    @property
    def free(self) -> bool:
        """Whether no stage waits to be done."""
        return self.here.free

    def begin(self, task: Task) -> None:
        """Remember the stage; ``wait`` does it."""
        self.here.begin(task)

    def wait(self) -> list[Result]:
        """Do the stage that was begun, with the help of the others."""
        task = self.here.next
        if task is None:
            return []
        self._check_others(task)
        try:
            if task.stage.kind == "evaluate":
                self._in_parts(task)
            elif self.here.runner.trains(task.stage):
                self._publish([task] * self.group.world.size)
            return self.here.wait()
        except Exception as error:
            self._check_others(task, _LAST_WORDS)
            if _is_of_communication(error):
                raise StageError(
                    f"{task.stage.id}: another process of the training ended unexpectedly; the "
                    "same command continues from the checkpoint"
                ) from error
            raise

    def _publish(self, tasks: list[Task]) -> None:
        """Hand each process its task, by rank."""
        self.published += 1
        self.group.put(f"tasks/{self.published}", tasks)

    def _in_parts(self, task: Task) -> None:
        """Do the parts of an evaluation, one in each process, as far as it has as many."""
        runner, size = self.here.runner, self.group.world.size
        parts = min(size, most_parts(runner.builder, task.stage))
        if parts == 1:
            return
        runner.work_folder(task)  # before several processes make it
        tasks = [replace(task, part=Part(i + 1, parts)) for i in range(parts)]
        self._publish(tasks)
        with kept_first():
            runner.do(tasks[0])
        for rank in range(1, parts):
            self.group.wait(f"done/{self.published}/{rank}", lambda: bool(self.group.failure()))
        self._check_others(task)

    def _check_others(self, task: Task, seconds: float = 0.0) -> None:
        """Raise if one of the others has failed, or says so within some seconds."""
        failure: Failure | None = self.group.wait("failure", lambda: False, seconds)
        if failure:
            raise failure.of_stage(task.stage.id).error()

    def stop(self) -> None:
        """Do nothing: the others hear of the end when the group ends."""


def _is_of_communication(error: BaseException) -> bool:
    cause = error.__cause__ or error
    return isinstance(cause, dist.DistError) or "gloo" in str(cause)


class _Connection:
    """Brings a process its tasks from the first one of a group, and takes back what it found."""

    def __init__(self, group: Group) -> None:
        self.group, self.number, self.failed = group, 0, False

    def recv(self) -> Task:
        """Return the next task of this process; EOFError once there is none."""
        while True:
            self.number += 1
            tasks = self.group.wait(f"tasks/{self.number}", self.group.ended)
            if tasks is None:
                raise EOFError
            if self.group.world.rank < len(tasks):
                task: Task = tasks[self.group.world.rank]
                return task

    def send(self, message: Message | Event) -> None:
        """Tell the first process of a failure, or of a part that is finished."""
        rank = self.group.world.rank
        match message:
            case Failure():
                ended = self.group.ended()  # then an error may only be that the first one is gone
                self.failed = message.stopped or not ended
                if not ended:
                    where = f"process {rank} of {self.group.world.size}"
                    self.group.put("failure", replace(message, reason=f"{where}: {message.reason}"))
            case Done():
                self.group.put(f"done/{self.number}/{rank}", True)
            case _:
                pass


def help_run(group: Group, device: torch.device) -> int:
    """Do what the first process of a group asks for until the run ends; return the exit code.

    Args:
        group: the processes.
        device: where this one computes.
    """
    connection = _Connection(group)
    job: Job | None = group.wait("job", group.ended)
    if job:
        _help(connection, replace(job, device=device))
    group.leave()  # the others may wait for this process in the middle of a step
    if connection.failed:  # stay until the first one has said why: a launcher ends all with this
        group.wait("end", group.ended, _PATIENCE)
    _say_goodbye(group)
    return 2 if connection.failed else 0


def _help(connection: Any, job: Job) -> None:
    try:
        check_place(job)
    except RunError as error:
        connection.send(Failure.of("", error))
        return
    do_stages(connection, job, world=connection.group.world)


def _say_goodbye(group: Group) -> None:
    try:
        group.put(f"left/{group.world.rank}", True)
    except RuntimeError:  # the store ended with the first process
        return
