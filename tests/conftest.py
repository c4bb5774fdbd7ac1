"""Settings for all tests: one core per process, and the CPU unless a test names a GPU."""

import os
import signal
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also in processes that tests start
os.environ.setdefault("MOREX_DEVICE", "cpu")  # the same results with and without a GPU
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox looks for git on import
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="morex-tests-")  # not the user's key

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
LONG = (
    *("run/test_run_on_ray.py", "docs/test_site.py", "run/test_run_kill.py"),
    *("run/test_run_workers.py", "run/test_faults.py", "run/test_run_redone.py"),
    *("training/test_execution.py", "docs/test_shown_commands.py", "run/test_run_identity.py"),
    *("recipe/test_extend_recipe.py", "cli/test_cli_stopped.py", "deploy/test_export.py"),
    *("models/test_compiled.py", "run/test_run_together.py", "cli/test_cli_export.py"),
)
"""Files that take half a minute or more. They begin first, so that no process waits at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, in their order; the order of all other tests stays."""
    rank = {HERE / name: place for place, name in enumerate(LONG)}
    assert all(path.is_file() for path in rank), "a long file has another name now"
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute with one thread, as the stages of a run in processes of their own do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def hangups() -> Iterator[None]:
    """Hear SIGHUP, as processes that are started do, even if the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
