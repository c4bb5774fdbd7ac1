"""The networks and images that the benchmarks share."""

import torch
from torch import Tensor

from morex import NetworkConfig, ResNet


def resnet18(
    width: int,
    *,
    seed: int = 0,
    outputs: int = 10,
    memory_format: torch.memory_format = torch.channels_last,
) -> ResNet:
    """Return a ResNet-18 for 32x32 images, by default with its channels innermost in memory."""
    network = ResNet(NetworkConfig("resnet18", width, outputs, (32, 32)), seed=seed)
    network.to(memory_format=memory_format)  # type: ignore[call-overload]
    return network


def images(count: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` random images in [0, 1], in 8 bits, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, 3, 32, 32), generator=generator) / 255
    y = torch.randint(10, (count,), generator=generator)
    return x.contiguous(memory_format=torch.channels_last), y
