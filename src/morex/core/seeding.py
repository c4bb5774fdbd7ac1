"""Random generators that are derived, never stored.

Every random draw in morex comes from a generator made from the run's seed and the place in the
work where it is needed (stage, epoch, step, ...). Nothing depends on how often something was drawn
before, so a run that was interrupted needs no generator state to go on with the same bits.
"""

import hashlib

import torch


def derived_seed(seed: int, *place: str | int) -> int:
    """Hash ``seed`` and a place such as ``("MoRE", "epoch", 3)`` to 63 bits (SHA-256)."""
    text = "\0".join([str(int(seed)), *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(
    seed: int, *place: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator on ``device`` that depends on ``seed`` and ``place`` alone."""
    return torch.Generator(device).manual_seed(derived_seed(seed, *place))
