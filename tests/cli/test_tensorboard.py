"""Event files for TensorBoard."""

from pathlib import Path

import pytest

from morex.cli.tensorboard import with_event_files
from morex.run import Event, Finished, Measured, Noticed, Planned, Skipped, Stage, Started

STAGE = Stage("train", "clean", (), {})


def test_without_a_folder_the_observer_is_unchanged(tmp_path: Path) -> None:
    seen: list[Event] = []
    observe = with_event_files(seen.append, None)
    observe(Measured(STAGE, 1, {"loss": 2.0}))
    assert seen == [Measured(STAGE, 1, {"loss": 2.0})]
    assert not [*tmp_path.iterdir()]


def test_measurements_are_written_and_all_events_passed_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def written() -> list[tuple[int, float]]:
        events = EventAccumulator(str(tmp_path / "train-clean")).Reload()
        return [(event.step, event.value) for event in events.Scalars("loss")]

    seen: list[Event] = []
    observe = with_event_files(seen.append, tmp_path)
    events = [
        Planned((STAGE,), {"train-clean": 1.0}),
        Noticed("a file is damaged"),
        Skipped(Stage("train", "other", (), {})),
        Started(STAGE),
        Measured(STAGE, 1, {"loss": 4.0}),
        Measured(STAGE, 2, {"loss": 2.0}),
        Measured(STAGE, 3, {"loss": 1.0}),
        Finished(STAGE, 1.0, "loss 1.000"),
    ]
    for event in events:
        observe(event)
    assert seen == events
    assert [path.name for path in tmp_path.iterdir()] == ["train-clean"]
    assert written() == [(1, 4.0), (2, 2.0), (3, 1.0)]
    resumed = with_event_files(seen.append, tmp_path)
    resumed(Measured(STAGE, 2, {"loss": 0.5}))
    resumed(Finished(STAGE, 1.0, ""))
    assert written() == [(1, 4.0), (2, 0.5)]  # what came after the interruption is replaced
