"""Run directories that cannot be used: not writable, in use, or not a run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import FEW, raw_recipe, rerun, tiny

from morex.run import RunError, run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_directory_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for out in (file, file / "run"):
        with pytest.raises(RunError, match="cannot make the run directory") as caught:
            run(tiny("clean"), out)
        assert str(out) in str(caught.value)
    (tmp_path / "taken" / ".lock").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot write in the run directory"):
        run(tiny("clean"), tmp_path / "taken")


_HOLDER = """
import sys
from pathlib import Path
from morex.run.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_work_in_one_run_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(RunError) as caught:
            run(tiny("clean"), tmp_path)
        assert f"is in use by process {holder.pid} on" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert not (tmp_path / "recipe.yaml").exists()
        holder.kill()
    rerun(tmp_path, raw_recipe("clean"))  # the lock went with the process


def test_a_run_leaves_the_files_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for name in ("work/thesis.txt", ".notes.part"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=r"not a run directory: it holds '\.notes\.part'.*--out"):
        run(tiny("clean"), tmp_path)
    (tmp_path / ".notes.part").unlink()
    (tmp_path / "work" / "thesis.txt").rename(tmp_path.parent / "thesis.txt")
    (tmp_path / "work").rmdir()
    run(tiny("clean"), tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine, later")
    run(tiny("clean"), tmp_path)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "mine, later"


def test_a_kill_while_the_directory_is_marked_does_not_block_it(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "..owner.json.4711.part").write_bytes(b'{"pid": 4')
    assert rerun(tmp_path, raw_recipe("clean")).done == ["train-clean", "evaluate-clean"]
    assert not [*tmp_path.glob("*.part")]


@pytest.mark.parametrize("lost", ["", "results.json", "stages"])
def test_a_copy_without_hidden_files_goes_on(lost: str, finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns(".*", lost))
    (copy / "notes.txt").write_text("mine")
    spy = rerun(copy)
    assert bool(spy.done) == (lost == "stages")
    assert (copy / "notes.txt").read_text() == "mine"
    assert len(spy.stages) == 2 * len(FEW) + 1


@pytest.mark.parametrize(
    "files",
    [
        {"recipe.yaml": "models: {}"},
        {"recipe.yaml": "flour: 500", "results.json": '{"format": 1, "columns": {}}'},
        {"recipe.yaml": "models: {}", "results.json": '{"accuracy": 1}'},
        {"recipe.yaml": "models: {", "results.json": '{"format": 1, "columns": {}}'},
        {"results.json": '{"format": 1, "columns": {}}'},
    ],
)
def test_a_folder_that_only_resembles_a_run_is_refused(
    files: dict[str, str], tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match="is not a run directory"):
        run(tiny("clean"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == files.keys()
