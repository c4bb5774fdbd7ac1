"""Pre-activation networks (He et al. 2016b): PreAct-ResNet-18 and WideResNets of any size.

They compute what the networks of the same names in the literature compute, so that weights of these
can be read (``published``).
"""

from collections.abc import Callable

from torch import Tensor, nn

from morex.models.architectures import PreActivation, pre_activation
from morex.models.conv_bn import ConvNorm, convolution
from morex.models.network import ACTIVATIONS, Network, NetworkConfig, draw_convolutions

_STEM_OF_WIDE = 16


class PreActResNet(Network):
    """A pre-activation residual network: images (N, C, H, W) in [0, 1] to logits (N, outputs).

    Its last linear layer is called ``head``. Weights are drawn from ``seed`` alone.

    Raises:
        ValueError: if the architecture is that of another class; ``make_network`` chooses.
    """

    def _make(self, config: NetworkConfig) -> None:
        shape = pre_activation(config.architecture)
        if shape is None:
            raise ValueError(
                f"{config.architecture} is no pre-activation network; make it with "
                "morex.make_network(config)"
            )
        self.act = ACTIVATIONS[config.activation]
        self.last_act = ACTIVATIONS["relu"] if shape.relu_at_end else self.act
        inputs = _STEM_OF_WIDE if shape.factor else config.channels
        self.stem = convolution(len(config.mean), inputs, 3, config.stem_stride)
        blocks: list[nn.Module] = []
        for stage, depth in enumerate(shape.depths):
            planes = config.channels * 2**stage
            for i in range(depth):
                stride = 2 if stage and i == 0 else 1
                blocks.append(PreActBlock(inputs, planes, stride, shape, self.act))
                inputs = planes
        self.body = nn.Sequential(*blocks)
        self.norm: nn.Module = nn.BatchNorm2d(inputs) if shape.last_norm else nn.Identity()
        self.head = nn.Linear(inputs, config.outputs)
        draw_convolutions(self)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images."""
        features = self.body(self.stem(x))
        if isinstance(self.norm, nn.BatchNorm2d):
            features = self.last_act(self.norm(features))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and activation, and a shortcut.

    Args:
        inputs, planes: the numbers of channels.
        stride: that of the first convolution, and of the one on the shortcut.
        shape: what the network computes.
        act: the activation.
    """

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        shape: PreActivation,
        act: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.act = act
        self.norm = nn.BatchNorm2d(inputs)
        self.first = ConvNorm(inputs, planes, 3, stride, pads_end=shape.pads_end)
        self.second = convolution(planes, planes, 3, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != planes:
            kernel = shape.shortcut_kernel
            self.shortcut = convolution(inputs, planes, kernel, stride, pads_end=shape.pads_end)
        self.activated = shape.shortcut == "activated" and isinstance(self.shortcut, nn.Conv2d)

    def forward(self, x: Tensor) -> Tensor:
        """Return branch(act(norm(x))) + shortcut(x), or + shortcut(act(norm(x)))."""
        z = self.act(self.norm(x))
        branch: Tensor = self.second(self.act(self.first(z)))
        return branch.add_(self.shortcut(z if self.activated else x))
