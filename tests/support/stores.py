"""Object stores for tests: in memory, in a folder, and a real S3 server where moto is installed."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest

from morex.core import object_store
from morex.run import repeated, storage, storage_lock

PACKAGES = ("s3fs", "moto", "flask", "flask_cors")
REQUIRED = "MOREX_REQUIRE_STORAGE"


def quick(monkeypatch: pytest.MonkeyPatch, copies: Path) -> None:
    """Wait for nothing, and keep local copies in a folder."""
    monkeypatch.setenv("MOREX_COPIES", str(copies))
    monkeypatch.setattr(object_store, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(storage_lock, "SETTLE", 0.0)
    monkeypatch.setattr(repeated, "MOMENT", 0.0)
    monkeypatch.setattr(storage, "EVERY", 0.05)


def memory_url() -> str:
    """Return the URL of a place in memory that nothing else uses."""
    return f"memory://{uuid4().hex}/runs/tiny"


@contextmanager
def s3_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start an S3 server, and yield a URL in a bucket of it; skip where it is not installed."""
    if missing := [name for name in PACKAGES if not find_spec(name)]:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, but these are not installed: {', '.join(missing)}")
        pytest.skip(f"not installed: {', '.join(missing)}; set {REQUIRED} to make this a failure")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in credentials(port).items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        while not _answers(port):
            assert server.poll() is None, "the server has ended"
            time.sleep(0.1)
        import fsspec

        fsspec.get_filesystem_class("s3").clear_instance_cache()  # of a server that has ended
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket/runs/tiny"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def credentials(port: int) -> dict[str, str]:
    """Return the variables by which clients find the server."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
