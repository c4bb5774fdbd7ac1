"""The networks and images that the benchmarks share."""

import torch
from torch import Tensor

from morex import NetworkConfig, ResNet


def resnet18(width: int, *, seed: int = 0, outputs: int = 10) -> ResNet:
    """Return a ResNet-18 for 32x32 images, with its channels innermost in memory."""
    config = NetworkConfig("resnet18", width, outputs, (32, 32))
    return ResNet(config, seed=seed).to(memory_format=torch.channels_last)


def images(count: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` random images in [0, 1], in 8 bits, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, 3, 32, 32), generator=generator) / 255
    y = torch.randint(10, (count,), generator=generator)
    return x.contiguous(memory_format=torch.channels_last), y
