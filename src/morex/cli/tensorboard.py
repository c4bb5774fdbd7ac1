"""Event files for TensorBoard, to watch trainings."""

from pathlib import Path
from typing import Any

from morex.run import Event, Finished, Measured, Observer


def with_event_files(observer: Observer, folder: Path | None) -> Observer:
    """Return an observer that also writes event files to ``folder``.

    Without a folder it is ``observer`` itself.

    Raises:
        ImportError: if TensorBoard is not installed.
    """
    if folder is None:
        return observer
    write = EventFiles(folder)

    def observe(event: Event) -> None:
        write(event)
        observer(event)

    return observe


class EventFiles:
    """An observer that writes the measurements of each stage to a subfolder of ``folder``."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError(
                "--tensorboard needs TensorBoard: pip install 'morex[tensorboard]'"
            ) from None
        self.folder = folder
        self.make: Any = SummaryWriter
        self.writers: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        """Write measurements; close the files of a finished stage."""
        match event:
            case Measured(stage, step, values):
                writer = self._writer(stage.id, step)
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
            case Finished(stage) if stage.id in self.writers:
                self.writers.pop(stage.id).close()

    def _writer(self, stage_id: str, step: int) -> Any:
        """Return the stage's writer, made at its first measurement."""
        if stage_id not in self.writers:
            # TensorBoard then hides what an earlier training wrote from this step on
            writer = self.make(str(self.folder / stage_id), purge_step=step)
            self.writers[stage_id] = writer
        return self.writers[stage_id]
