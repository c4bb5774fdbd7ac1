"""Random generators, which are derived when needed and never stored.

Every random draw in morex comes from a generator made from the run's seed and the place in the
work (stage, epoch, step, ...). No draw depends on how many came before it. An interrupted run can
therefore continue with the same bits, although it stores no generator states.
"""

import hashlib

import torch


def derived_seed(seed: int, *place: str | int) -> int:
    """Return 63 bits of the SHA-256 of ``seed`` and a place such as ``("MoRE", "epoch", 3)``."""
    text = "\0".join([str(int(seed)), *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(
    seed: int, *place: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator on ``device`` that depends on ``seed`` and ``place`` alone."""
    return torch.Generator(device).manual_seed(derived_seed(seed, *place))
