"""How far a run is, from its files."""

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from report_run import write_run

from morex.artifacts.progress import FILE, Point, RunProgress, StageProgress
from morex.report.watch_page import EVERY, to_watch_page, where_it_is
from morex.report.watching import SILENT, seconds_left, watch

NOW = 5_000.0


def stage(state: Any, **more: Any) -> StageProgress:
    return StageProgress(**{"kind": "train", "model": "a", "work": 10.0, "state": state, **more})


STAGES = {
    "one": stage("done", seconds=20.0, share=1.0),
    "two": stage(
        "running",
        model="<b>",
        share=0.5,
        first=0.0,
        started=NOW - 10,
        text="epoch 5/10",
        points=tuple(Point(share=k / 10, loss=2.0 - k / 10, validation=0.3) for k in range(6)),
    ),
    "three": stage("waiting", kind="evaluate"),
}


def write_progress(
    run: Path, host: str = "elsewhere", pid: int = 1, updated: float = NOW, **stages: StageProgress
) -> Path:
    """Write the progress of a run; it was written long before this test by the files' times."""
    content = RunProgress(
        format=1,
        name="mine",
        host=host,
        pid=pid,
        started=NOW - 40,
        updated=updated,
        stages=stages or STAGES,
    )
    (run / FILE).parent.mkdir(parents=True, exist_ok=True)
    (run / FILE).write_text(content.model_dump_json(exclude_defaults=True))
    os.utime(run / FILE, (updated, updated))
    return run


def test_a_run_in_progress(tmp_path: Path) -> None:
    seen = watch(write_progress(tmp_path), NOW + 5)
    assert (seen.name, seen.state, seen.done, seen.heard) == ("mine", "running", 1, 5)
    assert seen.headline == "running, 1 of 3 stages done, about 30 s left"
    assert [*seen.running] == ["two"]
    assert [where_it_is(s) for s in seen.stages.values()] == [
        "20.0 s",
        "50.0%, epoch 5/10",
        "waits",
    ]


def test_the_time_left_follows_the_pace_of_each_kind_and_the_workers() -> None:
    slow = stage("done", kind="evaluate")
    stages = {**STAGES, "slow": slow}
    seconds = {"one": 20.0, "slow": 80.0}
    assert seconds_left(STAGES, NOW, {"one": 20.0}) == pytest.approx(0.5 * 20 + 20)
    assert seconds_left(stages, NOW, seconds) == pytest.approx(0.5 * 20 + 80)
    both = {**stages, "four": stage("running", share=0.5, first=0.0, started=NOW - 10)}
    assert seconds_left(both, NOW, seconds) == pytest.approx((0.5 * 20 + 0.5 * 20 + 80) / 2)
    resumed = {"a": stage("running", share=0.6, first=0.5, started=NOW - 10)}
    assert seconds_left(resumed, NOW, {}) == pytest.approx(40)
    assert seconds_left({"a": stage("running", share=0.0, first=0.0, started=NOW)}, NOW, {}) is None
    assert seconds_left({"one": STAGES["one"]}, NOW, {"one": 1.0}) is None


def test_a_run_elsewhere_is_silent_after_a_while(tmp_path: Path) -> None:
    write_progress(tmp_path)
    assert watch(tmp_path, NOW + SILENT - 1).state == "running"
    seen = watch(tmp_path, NOW + SILENT + 50)
    assert seen.headline == "silent, 1 of 3 stages done, last heard of 11 min ago"
    os.utime(tmp_path / FILE, (NOW + SILENT, NOW + SILENT))  # only its clock is slow
    assert watch(tmp_path, NOW + SILENT + 50).state == "running"


def test_a_run_here_has_stopped_if_its_process_has_ended(tmp_path: Path) -> None:
    here = socket.gethostname()
    write_progress(tmp_path, here, os.getpid())
    assert watch(tmp_path, NOW + 10 * SILENT).state == "running"
    write_progress(tmp_path, here, 2**22 + 1)  # more than any process has
    (tmp_path / "errors.log").write_text("Traceback\n  deep\nNotFiniteError: the loss is nan\n\n")
    seen = watch(tmp_path, NOW)
    assert (seen.state, seen.error) == ("stopped", "NotFiniteError: the loss is nan")


def test_a_finished_run_and_an_unfinished_one_without_progress(tmp_path: Path) -> None:
    whole = watch(write_run(tmp_path / "whole"), NOW)
    assert (whole.state, whole.left) == ("finished", None)
    assert whole.done == len(whole.stages) > 0
    assert watch(write_run(tmp_path / "part", evaluated=2), NOW).state == "unfinished"
    (tmp_path / "new").mkdir()
    (tmp_path / "new/.owner.json").write_text("{}")
    assert watch(tmp_path / "new", NOW).headline == "starting"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2}', b"\xff"])
def test_damaged_files_are_noted(content: bytes, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "work").mkdir()
    (run / FILE).write_bytes(content)
    assert watch(run, NOW).notes == (f"{run / FILE} cannot be read",)
    write_progress(run)
    (run / "results.json").write_bytes(content or b"x")
    seen = watch(run, NOW)
    assert seen.state == "running"
    assert seen.material is None
    assert str(run / "results.json") in seen.notes[0]


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("")
    with pytest.raises(ValueError, match="is not a run directory: it has no results"):
        watch(tmp_path, NOW)
    with pytest.raises(FileNotFoundError, match="there is no such run directory; did you mean"):
        watch(tmp_path.with_name(tmp_path.name + "x"), NOW)


def test_the_page_shows_stages_curves_and_table_and_reads_itself_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", evaluated=2)
    page = to_watch_page(watch(write_progress(run), NOW))
    assert f'<meta http-equiv="refresh" content="{EVERY}">' in page
    assert "Running, 1 of 3 stages done, about 30 s left." in page
    assert "&lt;b&gt;" in page
    charts = re.findall(r"<svg[^>]*>\s*<title>([^<]+)</title>", page)
    assert {"Loss of train &lt;b&gt;", "Validation of train &lt;b&gt;"} <= set(charts)
    assert '<table class="results">' in page
    assert len(re.findall(r'<tr class="(?:done|running|waiting)">', page)) == 3
    over = to_watch_page(watch(write_run(tmp_path / "over"), NOW))
    assert "http-equiv" not in over
    assert "Finished, " in over


def test_results_are_read_again_only_when_they_have_changed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    first = watch(run, NOW)
    again = watch(run, NOW, first)
    assert again.material is first.material is not None
    os.utime(run / "results.json", (1, 1))
    assert watch(run, NOW, again).material is not first.material
