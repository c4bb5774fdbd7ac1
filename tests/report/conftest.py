"""Runs to report on."""

from pathlib import Path

import pytest
from report_run import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with everything that a page can show."""
    return write_run(tmp_path / "run")
