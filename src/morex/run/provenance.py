"""Where results come from: versions, hardware, commit and command."""

import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from morex.artifacts.provenance import Provenance
from morex.core.threads import cores
from morex.core.version import VERSION

_PACKAGES = ("torch", "numpy", "safetensors", "scikit-learn", "pyarrow", "pillow")


def provenance(device: torch.device, processes: int = 1) -> Provenance:
    """Return what a reader needs to repeat a result of this process.

    Args:
        device: where it was computed.
        processes: how many processes have computed it together.
    """
    together = {"processes": processes} if processes > 1 else {}
    return Provenance(
        versions={"python": platform.python_version(), **_versions()},
        hardware=hardware(device) | together,
        commit=commit(),
        command=shlex.join([_program(), *sys.argv[1:]]),
    )


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the processor, the cores and threads of this process, and the GPU if it is used."""
    described: dict[str, Any] = {
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


@cache
def commit() -> str | None:
    """Return the git commit of the running source, followed by ``+`` if files were changed since.

    None for an installed package, even if it lies inside the repository of something else.
    """
    source = Path(__file__).parents[1]
    try:
        _git(source, "ls-files", "--error-unmatch", "__init__.py")  # fails if git ignores it
        head = _git(source, "rev-parse", "HEAD")
        return head + ("+" if _git(source, "status", "--porcelain", "--", str(source)) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _program() -> str:
    name = Path(sys.argv[0]).name
    return "morex" if name == "__main__.py" else name


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", os.fspath(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@cache
def _versions() -> dict[str, str]:
    found = {"morex": VERSION}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
