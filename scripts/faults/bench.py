"""Runs of a small recipe, whole or with a fault in the middle."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from faults.server import Request
from morex.core.files import digest_of

RECIPE = Path(__file__).parent / "recipe.yaml"
KEPT = ("models/**/model.safetensors", "outcomes/**/*.npz", "illustrations/*.npz")
"""The files whose bits a fault must not change."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, minus the signal that killed it, and what it printed."""

    code: int
    err: str


@dataclass(frozen=True)
class Blow:
    """A signal to a command after some seconds."""

    number: signal.Signals
    after: float


class Bench:
    """Runs the recipe, and knows what a run without faults ends with.

    Args:
        folder: an empty folder for all runs.
        server: the process that starts them.
    """

    def __init__(self, folder: Path, server: "subprocess.Popen[str]") -> None:
        self.folder, self.server = folder, server
        self.whole = folder / "whole"
        started = time.monotonic()
        ended = self.run(self.whole)
        if ended.code:
            raise RuntimeError(f"the run without a fault fails: {ended.err}")
        self.seconds = time.monotonic() - started
        self.expected = _digests(self.whole)

    def run(self, run: Path, *, blow: Blow | None = None, jobs: int = 1, **fuse: object) -> Ended:
        """Run the recipe in a folder; ``fuse`` are fields of ``Request``."""
        options = ["--out", str(run), "--jobs", str(jobs), "--checkpoint-every", "0"]
        return self.morex(["run", str(RECIPE), *options], blow=blow, **fuse)

    def morex(self, arguments: list[str], *, blow: Blow | None = None, **fuse: object) -> Ended:
        """Run a command of morex."""
        errors = self.folder / "stderr"
        request = Request(arguments, str(errors), **fuse)  # type: ignore[arg-type]
        assert self.server.stdin
        self.server.stdin.write(json.dumps(asdict(request)) + "\n")
        self.server.stdin.flush()
        process = int(self._answer())
        if blow:
            timer = threading.Timer(blow.after, _send, (process, blow.number))
            timer.start()
        code = int(self._answer())
        if blow:
            timer.cancel()
            timer.join()
        return Ended(code, errors.read_text(errors="replace"))

    def _answer(self) -> str:
        assert self.server.stdout
        return self.server.stdout.readline()

    def differing(self, run: Path) -> list[str]:
        """Return the files of a run that are not those of the run without faults."""
        found = _digests(run)
        names = sorted(found.keys() | self.expected.keys())
        return [name for name in names if found.get(name) != self.expected.get(name)]


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _digests(run: Path) -> dict[str, str]:
    paths = [path for pattern in KEPT for path in sorted(run.glob(pattern))]
    return {str(path.relative_to(run)): digest_of(path) for path in paths}


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Yield a bench in an empty folder."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    server = subprocess.Popen(
        [sys.executable, "-m", "faults.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )
    with server:
        yield Bench(folder, server)
