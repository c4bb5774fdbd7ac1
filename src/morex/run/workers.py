"""Where the stages of a run are done: in this process, or in others (``processes``).

Stages exchange data only through the run directory, so where they are done does not change results.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from types import TracebackType
from typing import Self

from morex.artifacts.records import StageRecord
from morex.core.stopping import kept_first, no_exit
from morex.run.events import Event, Observer
from morex.run.failures import Failure
from morex.run.stage_runner import StageRunner, Task

Result = tuple[str, StageRecord | None]
"""The id of a finished stage, and its record; no record if only a part of it is finished."""


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
    def begin(self, task: Task) -> None:
        """Begin a stage, or a part of one; there must be a free worker."""

    @abstractmethod
    def wait(self) -> list[Result]:
        """Wait until a stage in progress is finished, and return what has been finished.

        Returns at once, with an empty list, if no stage is in progress.

        Raises:
            StageError: if a stage fails.
            NotFiniteError: if a training diverges.
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
        self.told = _Told(runner.observer)
        self.runner = replace(runner, observer=self.told)
        self.next: Task | None = None

    @property
    def busy(self) -> bool:
        """Whether a stage waits to be done."""
        return self.next is not None

    @property
    def free(self) -> bool:
        """Whether no stage waits to be done."""
        return self.next is None

    def begin(self, task: Task) -> None:
        """Remember the stage; ``wait`` does it."""
        self.next = task

    def wait(self) -> list[Result]:
        """Do the stage that was begun."""
        if self.next is None:
            return []
        task, self.next = self.next, None
        stage = task.stage
        try:
            with kept_first(), no_exit(stage.id):
                return [(stage.id, self.runner.do(task))]
        except KeyboardInterrupt as error:
            error.add_note(f"in {stage.id}")
            raise
        except Exception as error:
            if error is self.told.raised:
                raise
            raise Failure.of(stage.id, error).error() from error

    def stop(self) -> None:
        """Do nothing: nothing runs in the background."""


class _Told:
    """An observer that remembers the error with which it ended the run, if it did."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.raised: Exception | None = None

    def __call__(self, event: Event) -> None:
        try:
            self.observer(event)
        except Exception as error:
            self.raised = error
            raise
