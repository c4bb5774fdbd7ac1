"""How a model is evaluated: what a recipe says, or leaves to the device."""

from dataclasses import dataclass
from typing import Literal

import torch

from morex.attacks import Attack
from morex.core.precision import Precision, resolved

SearchPrecision = Literal["fp32", "bf16"]
"""In which number format attacks see the model."""

BatchSize = int | Literal["auto"]
"""Images attacked at a time; ``auto`` leaves it to the device."""

_ON_CPU, _ON_GPU, _LEAST = 256, 1000, 32
_BYTES, _PIXELS = 40e9, 64 * 64
"""The memory of a GPU that a mixture of wide networks needs for a large batch, and the size of its
images."""


@dataclass(frozen=True)
class Settings:
    """How a model is evaluated.

    Args:
        seed: of all random draws.
        batch_size: images attacked at a time.
        search_precision: in which number format attacks see the model.
    """

    seed: int
    batch_size: int
    search_precision: SearchPrecision

    def searched_in(self, attack: Attack) -> SearchPrecision:
        """Return in which number format an attack sees the model."""
        return "fp32" if attack.needs_float32 else self.search_precision


def settings_on(
    device: torch.device,
    image_size: tuple[int, int],
    seed: int,
    batch_size: BatchSize,
    search_precision: Precision,
) -> Settings:
    """Return the settings of an evaluation with what is left to the device.

    Args:
        device: where it computes.
        image_size: (height, width) of the images.
        seed: of all random draws.
        batch_size: images attacked at a time, or ``auto``.
        search_precision: number format of attacks; ``auto`` is bf16 where the device is fast at it.
    """
    size = batch_size_on(device, image_size) if batch_size == "auto" else batch_size
    return Settings(seed, size, resolved(search_precision, device))


def batch_size_on(device: torch.device, image_size: tuple[int, int]) -> int:
    """Return how many images are attacked at a time if nobody says it.

    On a CPU these are 256. On a GPU with 40 GB they are 1,000, which keeps it busy and divides
    usual numbers of test images. With less memory, or images of more than 64x64 pixels, they are
    halved until they fit.
    """
    if device.type != "cuda":
        return _ON_CPU
    height, width = image_size
    memory = torch.cuda.get_device_properties(device).total_memory
    most = _ON_GPU * min(memory / _BYTES, 1.0) * min(_PIXELS / (height * width), 1.0)
    size = _ON_GPU
    while size > max(most, _LEAST):
        size = -(-size // 2)
    return size
