"""Kill runs whose directory is on an S3 server of this machine, and compare them with a folder.

The server is moto's. It and s3fs add about 120 MB, so they are not among the development packages:
where they are missing, this script makes an environment for them beside the present one.

usage: python scripts/storage_kills.py [--runs 1] [--seed 0] [--environment .venv-storage]
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from morex.artifacts.manifest import newest_manifest
from morex.artifacts.stored_runs import local_run
from morex.core.object_store import ObjectStore

_NEEDED = ("s3fs", "moto", "flask", "flask_cors")
_PACKAGES = ("s3fs", "moto[s3]", "flask", "flask-cors")
_RECIPE = (
    "digits",
    "name=stored",
    "network={architecture: resnet10, width: 4}",
    "data.train_examples=200",
    "training.epochs=8",
    "columns=[clean, Minf]",
    "report=null",
    "evaluation.examples=30",
)
_KILLS = 2


def main() -> None:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--environment", type=Path, default=Path(".venv-storage"))
    arguments = parser.parse_args()
    if not all(map(find_spec, _NEEDED)):
        _go_on_in(arguments.environment)
    with tempfile.TemporaryDirectory() as name, server():
        os.environ.update(OMP_NUM_THREADS="1", MOREX_COPIES=f"{name}/copies")
        right = campaign(Path(name), arguments.runs, random.Random(arguments.seed))
    sys.exit(0 if right else 1)


def _go_on_in(environment: Path) -> None:
    """Install the packages into an environment that also has those of this one, and go on there."""
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = environment / "lib" / version / "site-packages"
        (packages / "those-of-morex.pth").write_text("\n".join(p for p in sys.path if "site-" in p))
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
    os.execv(python, [str(python), *sys.argv])


@contextmanager
def server() -> Iterator[None]:
    """Start an S3 server with a bucket, which clients find by variables of this process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        while not _answers(port):
            time.sleep(0.1)
        import fsspec

        os.environ.update(variables)
        fsspec.filesystem("s3").mkdir("bucket")
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code, minus the signal if one killed it, and its times."""

    code: int
    cpu: float
    seconds: float


class Run:
    """A process of ``morex run``."""

    def __init__(self, out: str, jobs: int) -> None:
        command = [sys.executable, "-m", "morex.cli", "run", *_RECIPE, "--out", out]
        command += ["--jobs", str(jobs), "--checkpoint-every", "0.5"]
        self.started = time.monotonic()
        self.pid = os.spawnvpe(os.P_NOWAIT, command[0], command, os.environ)

    def wait(self) -> Ended:
        """Wait for its end."""
        _, status, usage = os.wait4(self.pid, 0)
        seconds = time.monotonic() - self.started
        return Ended(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, seconds)


def campaign(folder: Path, runs: int, draws: random.Random) -> bool:
    """Do a run in a folder, one at a URL, and some that are killed; return whether all agree."""
    in_folder = Run(str(folder / "expected"), 1).wait()
    expected = artefacts(folder / "expected")
    at_url = Run("s3://bucket/whole", 1).wait()
    right = stored("s3://bucket/whole") == expected and at_url.code == 0
    print(f"in a folder: {in_folder}\nat a URL: {at_url}, same bytes: {right}", flush=True)
    for number in range(runs):
        url = f"s3://bucket/killed-{number}"
        killed = [_killed(url, draws, at_url.seconds, kill) for kill in range(_KILLS)]
        last = Run(url, 2).wait()
        same = stored(url) == expected
        right = right and same and last.code == 0
        print(f"{url}: {'; '.join(killed)}; then {last}, same bytes: {same}", flush=True)
    print(f"{len(expected)} artefacts compared")
    return right


def _killed(url: str, draws: random.Random, longest: float, number: int) -> str:
    """Start a run, kill it at a random moment, and after the first kill remove its local copy."""
    run, store = Run(url, 1 + number % 2), ObjectStore(url)
    before = newest_manifest(store)
    while newest_manifest(store) == before:
        time.sleep(0.1)
    after = draws.uniform(0.5, 0.5 * longest)
    time.sleep(after)
    os.kill(run.pid, signal.SIGKILL)
    ended, manifest = run.wait(), newest_manifest(store)
    names = manifest.files if manifest else {}
    records, work = (sum(n.startswith(f) for n in names) for f in ("stages/", "work/t"))
    if number == 0:
        shutil.rmtree(os.environ["MOREX_COPIES"])
    copy = "copy removed" if number == 0 else "copy kept"
    return (
        f"killed {after:.1f} s after its first write (exit code {ended.code}), the store had "
        f"{records} finished stages and {work} checkpoints, {copy}"
    )


def artefacts(run: Path) -> Mapping[str, bytes]:
    """Return every artefact of a run: weights, descriptions, outcomes and labels."""
    patterns = ("models/**/model.*", "outcomes/**/*.npz", "illustrations/*.npz", "test-labels.json")
    files = sorted(file for pattern in patterns for file in run.glob(pattern))
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def stored(url: str) -> Mapping[str, bytes]:
    """Return every artefact of a run as it is in the store."""
    return artefacts(local_run(url, tuple))


if __name__ == "__main__":
    main()
