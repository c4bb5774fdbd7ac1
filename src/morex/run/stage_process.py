"""A process that does stages for the one that started it, and what it sends back."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from os import _exit as end_process
from pathlib import Path
from typing import Any

import torch

from morex.artifacts.records import StageRecord
from morex.core.determinism import deterministic
from morex.core.stopping import Stopped, kept_first, no_exit, stopped_by_signals
from morex.core.version import VERSION
from morex.recipe import parse_recipe
from morex.run.directory import RunDirectory, RunError
from morex.run.events import Event
from morex.run.failures import Failure
from morex.run.stage_runner import StageRunner, Task
from morex.training import World
from morex.training.world import ALONE

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Job:
    """What a process needs to know before it gets stages.

    Attributes:
        recipe: the recipe, as JSON.
        root: the run directory.
        device: where it computes.
        checkpoint_every: least seconds between two checkpoints.
        threads: of a computation.
        folder: the folder that relative paths start from.
        versions: of the packages that decide results.
        mark: what marks the run directory as that of this run.
        patience: seconds to wait for files that another machine has written.
    """

    recipe: dict[str, Any]
    root: Path
    device: torch.device
    checkpoint_every: float
    threads: int
    folder: Path
    versions: dict[str, str]
    mark: bytes
    patience: float

    @classmethod
    def of(cls, runner: StageRunner, patience: float = 0.0) -> "Job":
        """Return the job of processes that do stages for this one."""
        return cls(
            runner.recipe.model_dump(mode="json"),
            runner.directory.root.absolute(),
            runner.builder.device,
            runner.checkpoint_every,
            torch.get_num_threads(),
            Path.cwd(),
            _versions(),
            runner.directory.mark(),
            patience,
        )


def _versions() -> dict[str, str]:
    return {"morex": VERSION, "torch": torch.__version__}


@dataclass(frozen=True)
class Done:
    """A process has finished a stage, or a part of one, which has no record."""

    stage_id: str
    record: StageRecord | None


Message = Event | Done | Failure
"""What a process sends to the one that started it."""


@dataclass
class _Doing:
    """What a process does now, for the message if it fails; empty until it has a stage."""

    stage: str = ""


def do_stages(
    connection: Connection, job: Job, gpu: str | None = None, world: World = ALONE
) -> None:
    """Do the stages that arrive until this process is ended, as happens when its parent ends.

    Args:
        connection: brings stages, and takes events and results.
        job: what all stages share.
        gpu: the only GPU that this process may see, as CUDA names it; None changes nothing.
        world: the processes that train a model together, this one among them.
    """
    if gpu is not None:
        os.environ[_VISIBLE] = gpu  # before CUDA is used for the first time
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    doing = _Doing()
    try:
        with stopped_by_signals():
            _serve(connection, doing, job, world)
    except Stopped as error:
        failure = RunError(f"{doing.stage}: its process was asked to end ({error})")
        _send(connection, replace(Failure.of(doing.stage, failure), stopped=True))
    except BaseException as error:
        _send(connection, Failure.of(doing.stage, error))


def serve(descriptor: int) -> None:
    """Do stages on a machine of a cluster until standard input ends.

    Args:
        descriptor: of a socket that brings a ``Job`` and then stages.
    """
    threading.Thread(target=_end_with_input, daemon=True).start()
    connection = Connection(descriptor)
    job: Job = connection.recv()
    try:
        check_place(job)
    except RunError as error:
        connection.send(Failure.of("", error))
        return
    threading.Thread(target=_end_with_run, args=(job,), daemon=True).start()
    do_stages(connection, job)


def check_place(job: Job) -> None:
    """Raise ``RunError`` unless this machine has the versions and the directory of a run."""
    host = socket.gethostname()
    if (found := _versions()) != job.versions:
        raise RunError(
            f"{host} has {found}, but the run was started with {job.versions}; results would "
            "differ. Install the same versions on all machines"
        )
    with suppress(OSError):
        os.chdir(job.folder)
    deadline = time.monotonic() + job.patience
    while RunDirectory(job.root).mark() != job.mark:
        if time.monotonic() > deadline:
            raise RunError(
                f"{host} does not see the run directory {job.root}; give --out a folder on storage "
                "that all machines of the cluster reach under the same path"
            )
        time.sleep(0.5)


def _end_with_run(job: Job) -> None:
    """End this process once another run works in the directory.

    A cluster whose head has died ends its processes late; meanwhile the run may go on elsewhere.
    """
    while RunDirectory(job.root).mark() in (b"", job.mark):
        time.sleep(1.0)
    end_process(1)


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    end_process(1)


def _serve(connection: Connection, doing: _Doing, job: Job, world: World) -> None:
    torch.set_num_threads(job.threads)
    with no_exit("starting a process"):
        recipe = parse_recipe(job.recipe)
        runner = StageRunner.open(
            recipe, job.root, job.device, connection.send, job.checkpoint_every
        )
        runner.patience, runner.world = job.patience, world
    with deterministic(recipe.deterministic, job.device):
        while task := _next_task(connection):
            doing.stage = task.stage.id
            with kept_first(), no_exit(doing.stage):
                record = runner.do(task)
            connection.send(Done(doing.stage, record))


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
