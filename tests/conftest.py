"""Settings for all tests: one core per process, and the CPU unless a test names a GPU."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also in processes that tests start
os.environ.setdefault("MOREX_DEVICE", "cpu")  # the same results with and without a GPU
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox looks for git on import
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="morex-tests-")  # not the user's key

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute with one thread, as the stages of a run in processes of their own do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
