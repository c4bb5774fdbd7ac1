"""Residual networks for small images (He et al. 2016a), from images in [0, 1] to logits.

The stem is one 3x3 convolution without pooling, as is usual for CIFAR. For images of 64 pixels and
more its stride is 2.
"""

from collections.abc import Callable

from torch import Tensor, nn

from morex.models.architectures import RESNETS
from morex.models.conv_bn import ConvNorm
from morex.models.network import ACTIVATIONS, Network, NetworkConfig, draw_convolutions


class ResNet(Network):
    """A residual network: images (N, C, H, W) in [0, 1] to logits (N, outputs).

    Its last linear layer is called ``head``. Weights are drawn from ``seed`` alone.

    Raises:
        ValueError: if the architecture is that of another class; ``make_network`` chooses.
    """

    def _make(self, config: NetworkConfig) -> None:
        if config.architecture not in RESNETS:
            raise ValueError(
                f"{config.architecture} is no ResNet; make it with morex.make_network(config)"
            )
        shape = RESNETS[config.architecture]
        self.act = ACTIVATIONS[config.activation]
        block = BLOCKS[shape.block]
        self.stem = ConvNorm(len(config.mean), config.channels, 3, config.stem_stride)
        stages: list[nn.Module] = []
        inputs = config.channels
        for stage, depth in enumerate(shape.depths):
            planes = config.channels * 2**stage
            for i in range(depth):
                stages.append(block(inputs, planes, 2 if stage and i == 0 else 1, self.act))
                inputs = planes * block.expansion
        self.body = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, config.outputs)
        draw_convolutions(self)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images."""
        features = self.body(self.act(self.stem(x)))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        act: Callable[[Tensor], Tensor] = ACTIVATIONS["relu"],
    ) -> None:
        super().__init__()
        self.act = act
        self.first = ConvNorm(inputs, planes, 3, stride)
        self.second = ConvNorm(planes, planes, 3, 1)
        self.shortcut = _shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return act(branch(x) + shortcut(x))."""
        branch = self.second(self.act(self.first(x)))
        return self.act(branch.add_(self.shortcut(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the last one makes 4 planes channels."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        act: Callable[[Tensor], Tensor] = ACTIVATIONS["relu"],
    ) -> None:
        super().__init__()
        self.act = act
        self.first = ConvNorm(inputs, planes, 1, 1)
        self.second = ConvNorm(planes, planes, 3, stride)
        self.third = ConvNorm(planes, 4 * planes, 1, 1)
        self.shortcut = _shortcut(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return act(branch(x) + shortcut(x))."""
        branch = self.third(self.act(self.second(self.act(self.first(x)))))
        return self.act(branch.add_(self.shortcut(x)))


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}
"""The types of blocks by name."""


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return ConvNorm(inputs, outputs, 1, stride)
