"""Workers that do no work, for tests of how a run handles very many stages."""

import sys
from collections.abc import Callable
from pathlib import Path

from tiny import CPU

from morex.recipe import Recipe
from morex.run.execute import _Execution
from morex.run.stage_runner import StageRunner, Task
from morex.run.workers import Result, Workers


class Pretending(Workers):
    """Writes files with the name of the stage instead of its result."""

    count = 1

    def __init__(self, runner: StageRunner) -> None:
        self.runner = runner
        self.next: Task | None = None

    @property
    def busy(self) -> bool:
        return self.next is not None

    @property
    def free(self) -> bool:
        return self.next is None

    def begin(self, task: Task) -> None:
        self.next = task

    def wait(self) -> list[Result]:
        if self.next is None:
            return []
        task, self.next = self.next, None
        stage, key = task.stage, task.key
        files = [stage.output, *([f"{stage.folder}/model.json"] if stage.makes_a_model else [])]
        for name in files:
            self.runner.directory.write(name, stage.id.encode())
        about = {"seconds": 1.0, "finished": "", "provenance": {}}
        return [(stage.id, self.runner.directory.finish(stage, key, tuple(files), about))]

    def stop(self) -> None:
        pass


def pretend(recipe: Recipe, out: Path) -> _Execution:
    """Do a recipe in ``out`` without any work; finished stages are skipped as ever."""
    runner = StageRunner.open(recipe, out, CPU, lambda event: None, 30.0)
    with runner.directory.locked():
        execution = _Execution(runner, Pretending(runner))
        execution.do_all()
    return execution


def calls(work: Callable[[], object]) -> int:
    """Return how many Python functions a piece of work calls."""
    count = 0

    def look(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
