"""Commands that a scheduler stops with SIGTERM, for real: they keep their work and say so."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from calling import FinishedRun, call
from own_code import own_recipe
from tiny import changed, raw_recipe


def stopped(
    arguments: list[object], sign: Path, number: int = signal.SIGTERM
) -> tuple[int, str, float]:
    """Start a command and signal it once ``sign`` exists.

    Returns:
        Its exit code and standard error, and when the sign was written.
    """
    command = [sys.executable, "-m", "morex.cli", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ, text=True
    ) as process:
        while not (found := [*sign.parents[1].glob(f"*/{sign.name}")]) and process.poll() is None:
            time.sleep(0.01)
        written = max((path.stat().st_mtime for path in found), default=0.0)
        time.sleep(0.3)
        process.send_signal(number)
        _, err = process.communicate()
    return process.returncode, err, written


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    raw = changed(raw_recipe("clean"), "models.clean.training", {"epochs": 100_000})
    raw["threads"] = 1
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path / "long.yaml"


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize(
    ("jobs", "number", "code"), [(1, signal.SIGTERM, 143), (2, signal.SIGHUP, 129)]
)
def test_a_run_that_is_stopped_writes_a_checkpoint(
    jobs: int, number: int, code: int, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".owner.json").touch()
    (out / "report.html").write_text("of an earlier recipe")
    options = ["--out", out, "--jobs", jobs, "--checkpoint-every", 4]
    found, err, before = stopped(
        ["run", recipe, *options], out / "work" / "*" / "checkpoint", number
    )
    assert found == code, err
    assert f"stopped by {signal.Signals(number).name}" in err
    assert "run the same command to continue" in err
    assert "Traceback" not in err
    assert "of an earlier recipe" not in (out / "report.html").read_text()
    if jobs == 1:
        assert "in train-clean" in err
    (checkpoint,) = out.glob("work/train-clean-*/checkpoint")
    assert checkpoint.stat().st_mtime > before
    assert not [*out.rglob("*.part")]


def test_an_evaluation_that_is_stopped_keeps_its_rows(
    finished: FinishedRun, tmp_path: Path
) -> None:
    rows = {f"r{i}": {"attack": "rays", "over": "linf", "queries": 200} for i in range(2000)}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"name": "s", "rows": rows}))
    out = tmp_path / "out" / "x.npz"
    options = ["--suite", tmp_path / "s.yaml", "--examples", 20, "--out", out]
    sign = tmp_path / "out" / "x.npz.partial"
    code, err, _ = stopped(["evaluate", finished.folder / "models/clean", *options], sign)
    assert code == 143, err
    assert "stopped by SIGTERM; run the same command to continue" in err
    assert sign.is_file()


def test_debug_shows_where_an_error_arose(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(own_recipe(tmp_path, "1 / 0")))
    arguments = ["run", tmp_path / "r.yaml", "--out", tmp_path / "run", "--jobs", "1"]
    code, _, err = call(*arguments)
    assert code == 2
    assert "error: train-mown failed: ZeroDivisionError: division by zero (traceback: --deb" in err
    assert "Traceback" not in err
    code, _, err = call(*arguments, "--debug")
    assert code == 2
    assert "mine.py" in err
    assert err.index("Traceback") < err.index("error: train-mown failed")


@pytest.mark.parametrize("does", ["sys.exit(0)", "os._exit(0)"])
@pytest.mark.parametrize("where", ["import", "call"])
def test_code_of_the_user_cannot_pass_an_exit_for_success(
    does: str, where: str, tmp_path: Path
) -> None:
    raw = own_recipe(tmp_path, does if where == "call" else "pass")
    if where == "import":
        code = (tmp_path / "mine.py").read_text()
        (tmp_path / "mine.py").write_text(f"{code}\n{does}\n")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(raw))
    code, _, err = call("run", tmp_path / "r.yaml", "--out", tmp_path / "run", "--jobs", 1)
    assert code == 2
    assert does.split("(")[0] in err
    if where == "call":
        assert "train-mown" in err
