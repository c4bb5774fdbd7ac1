"""Residual networks for small images (He et al. 2016), from images in [0, 1] to logits.

Normalisation is part of the network: attacks and perturbations always see pixels in [0, 1]. The
stem is one 3x3 convolution without pooling, as is usual for CIFAR. For images of 64 pixels and more
its stride is 2.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.core.near import hint
from morex.core.number_checks import check_numbers
from morex.models.conv_bn import ConvNorm

LAST_LAYER = "head"
"""The name of a ResNet's last linear layer."""


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides the shape of a network.

    Args:
        architecture: a key of ``ARCHITECTURES``.
        width: the channels of the first stage; 64 in the paper.
        outputs: the number of logits (classes, or experts for a gate).
        image_size: (height, width) of the images that it is meant for.
        mean: the mean of the training pixels in [0, 1] per channel, subtracted first.
        std: their standard deviation per channel, by which the difference is divided.

    Raises:
        ValueError: if the architecture is unknown, or a number is no number or out of range.
    """

    architecture: str = "resnet18"
    width: int = 64
    outputs: int = 10
    image_size: tuple[int, int] = (32, 32)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        """Check names and ranges."""
        check_numbers(self)
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ValueError(
                f"unknown architecture {self.architecture!r}; expected one of {known}"
                + hint(self.architecture, ARCHITECTURES)
            )
        if self.width < 1 or self.outputs < 1 or min(self.image_size) < 1:
            raise ValueError(f"width, outputs and image_size must be at least 1, got {self}")
        if len(self.mean) != len(self.std) or not self.std or min(self.std) <= 0:
            raise ValueError(f"mean and std need one entry per channel and std > 0, got {self}")

    @property
    def stem_stride(self) -> int:
        """1 for images below 64 pixels, otherwise 2."""
        return 2 if min(self.image_size) >= 64 else 1


class ResNet(nn.Module):
    """A residual network: images (N, C, H, W) in [0, 1] to logits (N, outputs).

    Its last linear layer is called ``head``. Weights are drawn from ``seed`` alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        block, depths = ARCHITECTURES[config.architecture]
        channels = len(config.mean)
        self.register_buffer("mean", torch.tensor(config.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(-1, 1, 1))
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would also reseed every accelerator's global generator
            torch.default_generator.manual_seed(seed)
            self.stem = ConvNorm(channels, config.width, 3, config.stem_stride)
            stages: list[nn.Module] = []
            inputs = config.width
            for stage, depth in enumerate(depths):
                planes = config.width * 2**stage
                for i in range(depth):
                    stages.append(block(inputs, planes, 2 if stage and i == 0 else 1))
                    inputs = planes * block.expansion
            self.body = nn.Sequential(*stages)
            self.head = nn.Linear(inputs, config.outputs)
            _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images in [0, 1]."""
        # in place wherever the old values are not needed: small networks wait for memory
        features = self.body(F.relu(self.stem((x - self.mean) / self.std), inplace=True))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits

    def with_outputs(self, outputs: int) -> "ResNet":
        """Return a copy with a new last layer of zeros: a gate that begins undecided."""
        copy = self.sibling(outputs, seed=0)
        copy.body.load_state_dict(self.body.state_dict())
        copy.stem.load_state_dict(self.stem.state_dict())
        nn.init.zeros_(copy.head.weight)
        nn.init.zeros_(copy.head.bias)
        return copy

    def sibling(self, outputs: int, *, seed: int) -> "ResNet":
        """Return a new network of the same shape with another number of outputs (a gate)."""
        return ResNet(replace(self.config, outputs=outputs), seed=seed)

    def to_json(self, describe: Callable[[nn.Module], dict[str, Any]]) -> dict[str, Any]:
        """Return its configuration."""
        return asdict(self.config)

    @classmethod
    def from_json(
        cls, form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
    ) -> "ResNet":
        """Return a network of a configuration."""
        return cls(NetworkConfig(**form))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, planes, 3, stride)
        self.second = ConvNorm(planes, planes, 3, 1)
        self.shortcut = _shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(branch(x) + shortcut(x))."""
        branch = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(branch.add_(self.shortcut(x)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the last one makes 4 planes channels."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, planes, 1, 1)
        self.second = ConvNorm(planes, planes, 3, stride)
        self.third = ConvNorm(planes, 4 * planes, 1, 1)
        self.shortcut = _shortcut(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(branch(x) + shortcut(x))."""
        branch = F.relu(self.second(F.relu(self.first(x), inplace=True)), inplace=True)
        branch = self.third(branch)
        return F.relu(branch.add_(self.shortcut(x)), inplace=True)


ARCHITECTURES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
"""The type of block, and the number of blocks in each stage."""


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return ConvNorm(inputs, outputs, 1, stride)


def _initialise(network: nn.Module) -> None:
    """Draw the convolutions as He et al. (2015) propose for layers before a ReLU."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
