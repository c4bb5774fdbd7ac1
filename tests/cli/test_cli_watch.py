"""``morex watch``."""

import io
import json
import socket
import time
from pathlib import Path

import pytest
from calling import FinishedRun, call
from rich.console import Console

from morex.artifacts.progress import FILE, RunProgress, StageProgress
from morex.cli import watch as command
from morex.report.watching import watch


def in_progress(run: Path, count: int = 3) -> Path:
    """Write the progress of a run with some stages, one of which runs elsewhere."""
    stages = {
        f"s{k}": StageProgress(
            kind="train",
            model=f"m{k}\x1b[31m",
            work=1.0,
            state="done" if k < count // 2 else "running" if k == count // 2 else "waiting",
            share=1.0 if k < count // 2 else 0.25 if k == count // 2 else 0.0,
            seconds=2.0 if k < count // 2 else None,
        )
        for k in range(count)
    }
    now = time.time()
    content = RunProgress(
        format=1, name="mine", host="elsewhere", pid=1, started=now, updated=now, stages=stages
    )
    (run / FILE).parent.mkdir(parents=True)
    (run / FILE).write_text(content.model_dump_json(exclude_defaults=True))
    return run


def test_a_finished_run_is_shown_with_its_table(finished: FinishedRun, tmp_path: Path) -> None:
    page = tmp_path / "watch.html"
    code, out, err = call("watch", finished.folder, "--page", page)
    assert code == 0, err
    lines = out.splitlines()
    stages = lines[1 : lines.index("")]
    assert lines[0] == f"tiny: finished, {len(stages)} of {len(stages)} stages done"
    assert len(stages) == len([*(finished.folder / "stages").iterdir()])
    assert "train MoRE" in out
    _, table, _ = call("table", finished.folder)
    assert table.strip() in out
    assert "http-equiv" not in page.read_text()
    assert err == f"page: {page}\n"


def test_a_run_in_progress_is_shown_once_where_nothing_moves(tmp_path: Path) -> None:
    code, out, err = call("watch", in_progress(tmp_path))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "mine: running, 1 of 3 stages done, about 4 s left",
        r"  train m0\x1b[31m  2.0 s",
        r"  train m1\x1b[31m  25.0%",
        r"  train m2\x1b[31m  waits",
    ]


def test_json_has_the_state_and_the_stages(tmp_path: Path) -> None:
    code, out, _ = call("watch", in_progress(tmp_path), "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["name"], found["state"]) == ("mine", "running")
    assert found["stages"]["s1"] == {
        "kind": "train",
        "model": "m1\x1b[31m",
        "suite": "",
        "state": "running",
        "share": 0.25,
        "text": "",
    }


def test_what_is_no_run_is_an_error(tmp_path: Path) -> None:
    code, out, err = call("watch", tmp_path)
    assert (code, out) == (2, "")
    assert "is not a run directory" in err
    code, _, err = call("watch", in_progress(tmp_path), "--page", tmp_path)
    assert code == 2
    assert "is a folder; give the name of a file" in err


@pytest.mark.parametrize(("count", "height"), [(3, 30), (60, 20)])
def test_a_terminal_shows_no_more_than_fits(count: int, height: int, tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=height, color_system=None)
    console.print(command._shown(watch(in_progress(tmp_path, count), time.time()), console))
    lines = out.getvalue().splitlines()
    assert len(lines) < height
    assert any("25.0%" in line for line in lines)
    assert lines[0].startswith("mine: running")


def test_a_terminal_follows_until_the_end(
    finished: FinishedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, page = io.StringIO(), tmp_path / "w.html"
    run = in_progress(tmp_path / "run")

    def end(seconds: float) -> None:
        assert "http-equiv" in page.read_text()
        (run / FILE).unlink()
        for path in finished.folder.iterdir():
            (run / path.name).exists() or (run / path.name).symlink_to(path)

    monkeypatch.setattr(command.time, "sleep", end)
    console = Console(file=out, force_terminal=True, width=100, height=40)
    command._follow(run, page, console)
    assert "http-equiv" not in page.read_text()
    assert "running" in out.getvalue()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("share", float("nan")),
        ("seconds", float("inf")),
        ("work", 1e300),
        ("pid", 2**40),
        ("pid", 10**30),
    ],
)
def test_absurd_numbers_are_a_file_that_cannot_be_read(
    where: str, value: float, tmp_path: Path
) -> None:
    path = in_progress(tmp_path) / FILE
    content = json.loads(path.read_text())
    (content if where == "pid" else content["stages"]["s0"])[where] = value
    path.write_text(json.dumps(content | {"host": socket.gethostname()}))
    code, out, err = call("watch", tmp_path, "--page", tmp_path / "watch.html", "--once")
    assert code == 0, err
    assert f"note: {path} cannot be read" in out


def test_a_training_that_diverges_is_shown(tmp_path: Path) -> None:
    path = in_progress(tmp_path) / FILE
    content = json.loads(path.read_text())
    losses = [1.0, 2.0, float("inf"), float("nan")]
    content["stages"]["s1"]["points"] = [{"share": 0.1, "loss": loss} for loss in losses]
    content["stages"]["a\0b"] = {"kind": "train", "model": "m", "state": "done"}
    path.write_text(json.dumps(content))
    page = tmp_path / "watch.html"
    code, out, err = call("watch", tmp_path, "--page", page, "--once")
    assert code == 0, err
    assert "running, 2 of 4 stages done" in out
    assert "loss 2.000" in page.read_text()
