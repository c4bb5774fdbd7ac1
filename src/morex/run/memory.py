"""The peak memory of a stage."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak(device: torch.device) -> None:
    """Forget the peak memory so far, so that ``peak_memory`` returns the peak from here on.

    Only Linux can forget; on other systems the peak remains that of the whole process.
    """
    with suppress(OSError):
        _RESET.write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return the largest resident memory of this process and the largest use of a GPU, in bytes."""
    peaks = {"peak_memory_bytes": _resident()}
    if device.type == "cuda":
        peaks["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return peaks


def _resident() -> int:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
