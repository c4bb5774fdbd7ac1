"""The file that tells how far a run is."""

from pathlib import Path

import pytest
from tiny import Spy, tiny

from morex.artifacts.progress import FILE, RunProgress
from morex.run import Event, Finished, Measured, Planned, Progressed, Skipped, Stage, Started, run
from morex.run.journal import EVERY, Journal

A, B = Stage("train", "a", (), {}), Stage("evaluate", "b", (), {}, suite="more")


class Times:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def read(root: Path) -> RunProgress:
    return RunProgress.model_validate_json((root / FILE).read_bytes())


@pytest.fixture
def clock() -> Times:
    return Times()


@pytest.fixture
def journal(tmp_path: Path, clock: Times) -> Journal:
    made = Journal("mine", tmp_path, lambda event: None, clock)
    made(Planned((A, B), {A.id: 30.0, B.id: 20.0}))
    return made


def test_stages_wait_run_and_are_done(journal: Journal, tmp_path: Path, clock: Times) -> None:
    waiting = read(tmp_path)
    assert (waiting.name, waiting.started, waiting.updated) == ("mine", 100, 100)
    assert [s.state for s in waiting.stages.values()] == ["waiting", "waiting"]
    assert [s.title for s in waiting.stages.values()] == ["train a", "evaluate b (more)"]
    assert [s.work for s in waiting.stages.values()] == [30, 20]
    clock.now = 101
    journal(Skipped(A))
    journal(Started(B))
    skipped, running = read(tmp_path).stages.values()
    assert (skipped.state, skipped.share, skipped.seconds) == ("done", 1, None)
    assert (running.state, running.started) == ("running", 101)
    clock.now = 110
    journal(Progressed(B, 0.25, "resumed"))
    journal(Finished(B, 9.0, "well"))
    done = read(tmp_path).stages[B.id]
    assert (done.state, done.share, done.seconds, done.text) == ("done", 1, 9, "well")


def test_progress_is_written_now_and_then(journal: Journal, tmp_path: Path, clock: Times) -> None:
    journal(Started(A))
    for step in range(1, 11):
        clock.now += EVERY / 4
        journal(Progressed(A, step / 100, f"step {step}"))
    assert read(tmp_path).stages[A.id].text == "step 8"
    assert read(tmp_path).stages[A.id].first == 0.01


def test_measurements_of_a_training_are_thinned(
    journal: Journal, tmp_path: Path, clock: Times
) -> None:
    journal(Started(A))
    for step in range(1000):
        journal(Progressed(A, step / 1000, ""))
        journal(Measured(A, step, {"loss": 1000.0 - step}))
    journal(Measured(A, 1000, {}))
    clock.now += EVERY
    journal(Progressed(A, 1.0, ""))
    points = read(tmp_path).stages[A.id].points
    assert 40 < len(points) <= 100
    assert points[0].share == 0
    assert [p.loss for p in points] == [pytest.approx(1000 - 1000 * p.share) for p in points]


def test_every_event_is_handed_on(tmp_path: Path) -> None:
    found: list[Event] = []
    journal = Journal("mine", tmp_path, found.append)
    events = [Planned((A,), {A.id: 1.0}), Started(A), Finished(A, 1.0, "")]
    for event in events:
        journal(event)
    assert found == events


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("in the way")
    journal = Journal("mine", tmp_path, lambda event: None)
    journal(Planned((A,), {A.id: 1.0}))
    journal.remove()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_keeps_the_file_while_it_lasts(jobs: int, tmp_path: Path) -> None:
    out, states = tmp_path / "run", set()

    def observer(event: Event) -> None:
        if isinstance(event, Started | Finished):
            stages = read(out).stages.values()
            states.add(tuple(stage.state for stage in stages))

    run(tiny("clean"), out, observer=observer, jobs=jobs)
    assert states == {
        ("running", "waiting"),
        ("done", "waiting"),
        ("done", "running"),
        ("done",) * 2,
    }
    assert not (out / "work").exists()


def test_an_interrupted_run_leaves_the_file_and_a_resumed_one_removes_it(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Finished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny("clean"), tmp_path / "run", observer=interrupt, jobs=1)
    assert [s.state for s in read(tmp_path / "run").stages.values()] == ["done", "waiting"]
    spy = Spy()
    run(tiny("clean"), tmp_path / "run", observer=spy, jobs=1)
    assert spy.skipped == ["train-clean"]
    assert not (tmp_path / "run" / "work").exists()
