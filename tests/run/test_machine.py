"""What a run finds out about its machine: commit, cores and memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import CPU

import morex.run.provenance
from morex.core.threads import _quota
from morex.run.memory import forget_peak, peak_memory

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_commit_is_that_of_the_source_and_not_of_a_repository_around_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / ".venv/morex/run"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text(".venv\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    monkeypatch.setattr(morex.run.provenance, "__file__", str(package / "provenance.py"))
    assert morex.run.provenance.commit.__wrapped__() is None
    subprocess.run([*git, "add", "-f", str(package.parent)], check=True)
    subprocess.run([*git, "commit", "-qm", "y"], check=True)
    commit = morex.run.provenance.commit.__wrapped__()
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert commit == head.stdout.strip()
    (package.parent / "__init__.py").write_text("# changed\n")
    assert morex.run.provenance.commit.__wrapped__() == commit + "+"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "50000 100000"}, 0),
        ({"cpu.max": "max 100000"}, sys.maxsize),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, sys.maxsize),
        ({}, sys.maxsize),
    ],
)
def test_quotas_of_containers_count(files: dict[str, str], cores: int, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert _quota(tmp_path) == cores


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget")
def test_the_peak_memory_is_that_of_the_stage() -> None:
    big = np.ones(2**26)  # 512 MiB
    with_it = peak_memory(CPU)["peak_memory_bytes"]
    del big
    forget_peak(CPU)
    assert peak_memory(CPU)["peak_memory_bytes"] < with_it - 2**28
