"""Finished runs that several tests look at."""

import shutil
from pathlib import Path

import pytest
from tiny import FEW, Spy, tiny

from morex.core.threads import threads
from morex.run import run


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Spy]:
    """A finished run of the whole tiny recipe, and its events. Do not change it."""
    out, spy = tmp_path_factory.mktemp("whole") / "run", Spy()
    with threads(1):
        run(tiny(), out, observer=spy)
    return out, spy


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a few models. Do not change it."""
    out = tmp_path_factory.mktemp("few") / "run"
    with threads(1):
        run(tiny(*FEW), out)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run of a few models."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    return copy
