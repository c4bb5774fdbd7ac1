"""Event files for TensorBoard, for those who watch trainings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from morex.run import Stage, Watcher


def with_events(watcher: Watcher, folder: Path | None) -> Watcher:
    """Return a watcher that also writes event files to ``folder``; the same one without a folder.

    Raises:
        ImportError: if TensorBoard is not installed.
    """
    return EventFiles(watcher, folder) if folder else watcher


class EventFiles:
    """Passes on what it is told, and writes every stage's measurements to a folder of its own."""

    def __init__(self, watcher: Watcher, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError(
                "--tensorboard needs TensorBoard: pip install 'morex[tensorboard]'"
            ) from None
        self.watcher, self.folder = watcher, folder
        self.make: Any = SummaryWriter
        self.writers: dict[str, Any] = {}

    def begins(self, stages: list[Stage], work: dict[str, float]) -> None:
        """Pass on the call, as all methods do."""
        self.watcher.begins(stages, work)

    def skips(self, stage: Stage) -> None:
        """Pass on the call."""
        self.watcher.skips(stage)

    def starts(self, stage: Stage) -> None:
        """Pass on the call."""
        self.watcher.starts(stage)

    def progress(self, stage: Stage, share: float, text: str) -> None:
        """Pass on the call."""
        self.watcher.progress(stage, share, text)

    def measures(self, stage: Stage, step: int, values: Mapping[str, float]) -> None:
        """Write the values and pass on the call."""
        if stage.id not in self.writers:
            # what an earlier training wrote from this step on is not shown
            self.writers[stage.id] = self.make(str(self.folder / stage.id), purge_step=step)
        for name, value in values.items():
            self.writers[stage.id].add_scalar(name, value, step)
        self.watcher.measures(stage, step, values)

    def ends(self, stage: Stage, seconds: float, text: str) -> None:
        """Close the stage's file and pass on the call."""
        if stage.id in self.writers:
            self.writers.pop(stage.id).close()
        self.watcher.ends(stage, seconds, text)

    def notice(self, text: str) -> None:
        """Pass on the call."""
        self.watcher.notice(text)
