"""Output that nobody reads: ``morex recipes | head -1``."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from calling import FinishedRun

from morex.cli.broken_pipe import output_is_unread


def unread(arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard output is a pipe that has lost its reader."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "morex.cli", *map(str, arguments)]
    try:
        return subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)


@pytest.mark.parametrize("arguments", [["recipes"], ["--help"], ["table", "--help"], ["--version"]])
def test_a_command_ends_without_a_word_and_as_sigpipe_would_end_it(arguments: list[str]) -> None:
    done = unread(arguments)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_table_that_nobody_reads(finished: FinishedRun) -> None:
    done = unread(["table", finished.folder])
    assert (done.returncode, done.stderr) == (141, "")


def test_a_mistake_is_still_told_where_the_output_is_not_read() -> None:
    done = unread(["table", "nowhere"])
    assert done.returncode == 2
    assert done.stderr.startswith("error: no run directory")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_without_standard_output_nothing_fails(closed: str) -> None:
    line = f"{sys.executable} -m morex.cli recipes {closed}"
    assert subprocess.run(line, shell=True).returncode == 0


def test_a_pipe_is_unread_once_its_reader_is_gone() -> None:
    reader, writer = os.pipe()
    assert not output_is_unread(writer)
    os.close(reader)
    assert output_is_unread(writer)
    os.close(writer)
