"""The script for a GPU: limits, resuming, and the archive, with commands that take no time."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import on_gpu
import pytest
from on_gpu import HOME, Part, State, _do, _parts
from on_gpu_archive import write_archive, write_summary

FAR = float("inf")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for the parts."""
    (tmp_path / "logs").mkdir()
    return tmp_path


def says(text: str, then: str = "") -> tuple[str, ...]:
    return (sys.executable, "-c", f"import time, sys; print({text!r}, flush=True); {then}")


def do(part: Part, out: Path, code: str = "a", ends: float = FAR) -> State:
    state = State(out / "state.json", code)
    _do(part, state, dict(os.environ), out, ends)
    return state


def test_a_part_that_is_done_is_not_done_again_unless_code_or_command_changed(out: Path) -> None:
    part = Part("hello", 1, says("hello"))
    for code, times in (("a", 1), ("a", 1), ("b", 2), ("b", 2)):
        assert do(part, out, code).is_done(part)
        assert (out / "logs/hello.log").read_text().splitlines().count("hello") == times
    assert not do(Part("other", 1, says("other")), out, "b").is_done(Part("hello", 1, says("bye")))


def test_a_part_that_fails_is_tried_again_and_its_output_is_kept(out: Path) -> None:
    bad = Part("bad", 1, says("so far", "sys.exit(1)"), output="bad.json")
    state = do(bad, out)
    assert not state.is_done(bad)
    assert state.entries["bad"]["status"] == "failed with exit code 1"
    assert (out / "bad.json").read_text() == "so far\n"
    flagged = Part("bad", 1, bad.command, good=(0, 1))
    assert do(flagged, out).is_done(flagged)


def test_a_part_that_takes_too_long_is_stopped(out: Path) -> None:
    slow = Part("slow", 0.02, says("started", "time.sleep(600)"))
    state = do(slow, out)
    assert state.entries["slow"]["status"] == "out of time"
    assert "started" in (out / "logs/slow.log").read_text()


def test_a_part_waits_for_the_one_that_it_needs(out: Path) -> None:
    suite, run = Part("suite", 1, says("suite"), needs="run"), Part("run", 1, says("run"))
    assert do(suite, out).entries == {}
    do(run, out)
    assert not do(suite, out, code="b").is_done(suite)
    assert do(suite, out).is_done(suite)


def test_the_archive_is_written_while_a_part_runs(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_gpu, "_PACK_EVERY", 0.01)
    archive = str(out / "on_gpu.tar.gz")
    waits = f"import os\nwhile not os.path.exists({archive!r}): time.sleep(0.01)"
    part = Part("long", 1, (sys.executable, "-c", f"import time\n{waits}"))
    assert do(part, out).is_done(part)


def test_without_time_nothing_is_started(out: Path) -> None:
    assert do(Part("late", 1, says("late")), out, ends=time.monotonic()).entries == {}


def test_the_archive_leaves_out_what_is_too_large_and_keeps_what_matters(out: Path) -> None:
    (out / "run/stages").mkdir(parents=True)
    noise = np.random.default_rng(0).bytes(16 * 2**20)  # cannot be compressed
    for name in ("run/results.json", "run/stages/train-a.json", "logs/run.log", "run/report.html"):
        (out / name).write_text(json.dumps({"seconds": 2.5}))
    (out / "run/outcomes").mkdir()
    (out / "run/outcomes/a.npz").write_bytes(noise)
    (out / "run/model.safetensors").write_text("weights")
    (out / "plan.json").write_text('{"stages": [{"stage": "train-a", "usual_seconds": 2}]}')
    write_summary(out, {"run": {"status": "done", "seconds": 3}})
    assert write_archive(out) == ["run/outcomes/a.npz"]
    assert (out / "on_gpu.tar.gz").stat().st_size < 16e6
    with tarfile.open(out / "on_gpu.tar.gz") as archive:
        names = archive.getnames()
        summary = archive.extractfile("summary.md")
        assert summary
        text = summary.read().decode()
    assert "run/report.html" in names
    assert "run/stages/train-a.json" in names
    assert "run/model.safetensors" not in names
    assert "| run | done | 3 |" in text
    assert "| train-a | 2.0 | 2.5 |" in text


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_part_and_leaves_an_archive(asked: int, out: Path) -> None:
    """The whole script, stopped in a part that takes seconds."""
    command = [sys.executable, str(HOME / "scripts/on_gpu.py"), "--device", "cpu", "--only", "plan"]
    command += ["--data", str(out), "--out", str(out / "o"), "--recipe", "digits"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert "plan: at most" in process.stdout.readline()
    while process.poll() is None and not (out / "o/logs/plan.log").is_file():
        time.sleep(0.01)
    process.send_signal(asked)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "stopped: SIG" in said
    with tarfile.open(out / "o/on_gpu.tar.gz") as archive:
        assert "logs/plan.log" in archive.getnames()


def test_a_recipe_without_the_columns_of_the_suite_has_no_suite(out: Path) -> None:
    options = argparse.Namespace(
        recipe="cifar10-union",
        data=out,
        device="cpu",
        tiny=True,
        images=200,
        tests=["tests"],
        only=[],
    )
    (out / "run").mkdir()
    for column, has in (("MAX (all)", True), ("MAX", False)):
        found = {"columns": {column: {"outcomes": "outcomes/max.npz"}}}
        (out / "run/results.json").write_text(json.dumps(found))
        assert ("suite" in [part.name for part in _parts(options, out)]) is has


def test_paths_start_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are started in the folder of the checkout."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("name: mine\n")
    monkeypatch.setattr(
        sys, "argv", ["on_gpu.py", "--data", "d", "--out", "o", "--recipe", "mine.yaml"]
    )
    options = on_gpu._options()
    assert options.data == tmp_path / "d"
    assert options.recipe == str(tmp_path / "mine.yaml")


def test_a_machine_without_a_gpu_is_refused(out: Path) -> None:
    command = [sys.executable, str(HOME / "scripts/on_gpu.py"), "--data", str(out)]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--out", str(out / "o")], env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "PyTorch finds no GPU here; --device cpu is for a rehearsal" in done.stderr
    assert (out / "o/on_gpu.tar.gz").is_file()
