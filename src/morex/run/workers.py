"""Where the stages of a run are done: in this process, or in several side by side.

Stages only meet in the run directory, so it makes no difference to their results.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from morex.recipe import parse_recipe
from morex.run.stage_runner import Bench
from morex.run.stages import Stage
from morex.run.store import RunError

Done = tuple[str, dict[str, Any]]
"""A finished stage's id and record."""


class Workers(ABC):
    """Does stages; as a context it cleans up behind itself."""

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
        """Take on a stage; there must be a free worker."""

    @abstractmethod
    def wait(self) -> list[Done]:
        """Wait until a stage in progress is finished, if there is one, and return what is new.

        Raises:
            Exception: whatever ended a stage.
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
        """Stop whatever is in progress."""
        self.stop()

    @abstractmethod
    def stop(self) -> None:
        """Stop whatever is in progress; what is unfinished goes on from its checkpoint."""


class Here(Workers):
    """Does one stage at a time in this process."""

    count = 1

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.next: tuple[Stage, str] | None = None

    @property
    def busy(self) -> bool:
        """Whether a stage has been taken on."""
        return self.next is not None

    @property
    def free(self) -> bool:
        """Whether none has."""
        return self.next is None

    def begin(self, stage: Stage, key: str) -> None:
        """Take on a stage."""
        self.next = stage, key

    def wait(self) -> list[Done]:
        """Do the stage that was taken on."""
        if self.next is None:
            return []
        (stage, key), self.next = self.next, None
        return [(stage.id, self.bench.do(stage, key))]

    def stop(self) -> None:
        """Do nothing: nothing goes on here behind one's back."""


class Processes(Workers):
    """Does several stages at a time, each in a process of its own that ends with this one."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.bench, self.count = bench, count
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
        """Whether a process has none, or can still be started."""
        return len(self.working) < self.count

    def begin(self, stage: Stage, key: str) -> None:
        """Give a stage to an idle process, started if need be."""
        connection = self.idle.pop() if self.idle else self._started()
        connection.send((stage, key))
        self.working.append(connection)

    def _started(self) -> Connection:
        ours, theirs = self.context.Pipe()
        workshop = self.bench.workshop
        arguments = (
            theirs,
            workshop.recipe.model_dump(mode="json"),
            self.bench.store.root,
            workshop.device,
            self.bench.checkpoint_every,
            torch.get_num_threads(),
        )
        process = self.context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that its end is noticed here
        self.processes[ours] = process
        return ours

    def wait(self) -> list[Done]:
        """Pass on what the processes say, until one of them is done with its stage."""
        done: list[Done] = []
        while self.working and not done:
            for connection in wait(self.working):
                assert isinstance(connection, Connection)
                done += self._heard(connection)
        return done

    def _heard(self, connection: Connection) -> list[Done]:
        try:
            kind, content = connection.recv()
        except EOFError:
            self.processes[connection].join()  # it is ending; its exit code comes a little later
            code = self.processes[connection].exitcode
            raise RunError(
                f"a process of this run ended unexpectedly (exit code {code}; -9 often means that "
                "memory ran out); the same command goes on from here, with fewer --jobs if need be"
            ) from None
        if kind == "failed":
            raise content
        if kind == "done":
            self.working.remove(connection)
            self.idle.append(connection)
            return [content]
        getattr(self.bench.watcher, kind)(*content)
        return []

    def stop(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.join()


class _Herald:
    """A watcher that passes on what it is told to the process that started this one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def begins(self, stages: list[Stage], work: dict[str, float]) -> None:
        """Pass on the call, as all methods do."""
        self.connection.send(("begins", (stages, work)))

    def skips(self, stage: Stage) -> None:
        """Pass on the call."""
        self.connection.send(("skips", (stage,)))

    def starts(self, stage: Stage) -> None:
        """Pass on the call."""
        self.connection.send(("starts", (stage,)))

    def progress(self, stage: Stage, share: float, text: str) -> None:
        """Pass on the call."""
        self.connection.send(("progress", (stage, share, text)))

    def measures(self, stage: Stage, step: int, values: Mapping[str, float]) -> None:
        """Pass on the call."""
        self.connection.send(("measures", (stage, step, values)))

    def ends(self, stage: Stage, seconds: float, text: str) -> None:
        """Pass on the call."""
        self.connection.send(("ends", (stage, seconds, text)))

    def notice(self, text: str) -> None:
        """Pass on the call."""
        self.connection.send(("notice", (text,)))


def _work(
    connection: Connection,
    raw: dict[str, Any],
    root: Path,
    device: torch.device,
    every: float,
    threads: int,
) -> None:
    """Do stages until this process is killed, as happens when its parent ends."""
    recipe = parse_recipe(raw)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        bench = Bench.open(recipe, root, device, _Herald(connection), every)
        while True:
            stage, key = connection.recv()
            connection.send(("done", (stage.id, bench.do(stage, key))))
    except EOFError:
        return
    except Exception as error:
        error.add_note(traceback.format_exc())  # which does not travel with it
        connection.send(("failed", error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
