"""Runs that continue a finished one, stopped while they take over its stages."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from tiny import FEW, Spy, results_of, tiny

from morex.run.continuation import continue_run

pytestmark = pytest.mark.usefixtures("one_thread")


class KilledError(Exception):
    """The process ends here."""


def no_links(source: object, target: object) -> None:
    raise OSError(errno.EXDEV, "the file systems differ")


@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_a_kill_while_a_file_is_copied_trains_nothing_again(
    at: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = 0

    def copy(source: Path, target: Path) -> None:
        nonlocal copies
        copies += 1
        content = source.read_bytes()
        target.write_bytes(content[: len(content) // 2] if copies == at else content)
        if copies == at:
            raise KilledError

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(KilledError):
        continue_run(finished, tiny(*FEW), tmp_path, jobs=1)
    spy = Spy()
    continue_run(finished, tiny(*FEW), tmp_path, observer=spy, jobs=1)
    assert not spy.done
    assert not spy.notices
    assert results_of(tmp_path) == results_of(finished)
    assert not [*tmp_path.rglob("*.part")]


def test_only_whole_stages_are_taken_over(finished: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(finished, source)
    (source / "models/clean/model.safetensors").unlink()
    (source / "outcomes/left-over.npz").write_bytes(b"of a model that the run no longer has")
    (source / "stages/evaluate-minf.json").write_bytes(b"damaged")
    spy = Spy()
    continue_run(source, tiny(*FEW), tmp_path / "run", observer=spy, jobs=1)
    assert spy.done == ["train-clean", "evaluate-minf"]
    assert results_of(tmp_path / "run") == results_of(finished)
