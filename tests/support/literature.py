"""Networks of the literature, written once more: their names, and what they compute.

Every function computes the logits of images with weights that it draws, and that it names as the
published network does. So ``Weights.drawn`` is a file that others might have published.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Act = Callable[[Tensor], Tensor]


class Weights:
    """Draws weights when they are first asked for, by name.

    Attributes:
        drawn: all of them.
    """

    def __init__(self, seed: int = 0) -> None:
        self.drawn: dict[str, Tensor] = {}
        self._generator = torch.Generator().manual_seed(seed)

    def conv(
        self,
        name: str,
        x: Tensor,
        planes: int,
        kernel: int = 3,
        stride: int = 1,
        pad: int | None = None,
    ) -> Tensor:
        """Return a convolution of ``x``."""
        weight = self._draw(f"{name}.weight", planes, x.shape[1], kernel, kernel) - 0.5
        self.drawn[f"{name}.weight"] = weight
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2 if pad is None else pad)

    def bn(self, name: str, x: Tensor) -> Tensor:
        """Return ``x`` normalised with fixed statistics."""
        tensors = [
            self._draw(f"{name}.{part}", x.shape[1])
            for part in ("running_mean", "running_var", "weight", "bias")
        ]
        self.drawn[f"{name}.num_batches_tracked"] = torch.tensor(7)
        return F.batch_norm(x, *tensors)

    def linear(self, name: str, x: Tensor, outputs: int) -> Tensor:
        """Return a linear map of ``x``."""
        weight = self._draw(f"{name}.weight", outputs, x.shape[1])
        return F.linear(x, weight, self._draw(f"{name}.bias", outputs))

    def _draw(self, name: str, *shape: int) -> Tensor:
        self.drawn[name] = torch.rand(shape, generator=self._generator) + 0.5
        return self.drawn[name]


def resnet(w: Weights, x: Tensor, width: int, depths: tuple[int, ...], act: Act) -> Tensor:
    """Return the logits of kuangliu/pytorch-cifar's ResNet of basic blocks."""
    x = act(w.bn("bn1", w.conv("conv1", x, width)))
    for stage, depth in enumerate(depths):
        planes = width * 2**stage
        for i in range(depth):
            n, stride = f"layer{stage + 1}.{i}.", 2 if stage and not i else 1
            z = act(w.bn(n + "bn1", w.conv(n + "conv1", x, planes, stride=stride)))
            z = w.bn(n + "bn2", w.conv(n + "conv2", z, planes))
            if stride == 2 or x.shape[1] != planes:
                x = w.bn(n + "shortcut.1", w.conv(n + "shortcut.0", x, planes, 1, stride))
            x = act(z + x)
    return w.linear("linear", x.mean((2, 3)), 10)


def preact_resnet(
    w: Weights,
    x: Tensor,
    width: int,
    act: Act,
    *,
    raw: bool = False,
    last_bn: bool = True,
    last_act: Act | None = None,
) -> Tensor:
    """Return the logits of a PreAct-ResNet-18.

    Args:
        w: its weights.
        x: images.
        width: the channels of the first stage.
        act: the activation.
        raw: whether convolutions on shortcuts take raw images (Wong et al. 2020).
        last_bn: whether there is BatchNorm at the end (Rice et al. 2020).
        last_act: the activation after it, if it is another one (Croce & Hein 2022).
    """
    x = w.conv("conv1", x, width)
    for stage in range(4):
        planes = width * 2**stage
        for i in range(2):
            n, stride = f"layer{stage + 1}.{i}.", 2 if stage and not i else 1
            z = act(w.bn(n + "bn1", x))
            if stride == 2 or x.shape[1] != planes:
                x = w.conv(n + "shortcut.0", x if raw else z, planes, 1, stride)
            z = w.conv(n + "conv1", z, planes, stride=stride)
            x = x + w.conv(n + "conv2", act(w.bn(n + "bn2", z)), planes)
    x = (last_act or act)(w.bn("bn", x)) if last_bn else x
    return w.linear("linear", x.mean((2, 3)), 10)


def deepmind_preact_resnet(w: Weights, x: Tensor, width: int, act: Act) -> Tensor:
    """Return the logits of the PreAct-ResNet-18 of DeepMind's adversarial_robustness."""
    x = w.conv("conv_2d", x, width)
    for stage in range(4):
        planes = width * 2**stage
        for i in range(2):
            n, stride = f"layer_{stage}.{i}.", 2 if stage and not i else 1
            z = act(w.bn(n + "batchnorm_0", x))
            if stride == 2 or x.shape[1] != planes:
                x = _same(w, n + "shortcut", x, planes, stride)
            z = _same(w, n + "conv_2d_1", z, planes, stride)
            x = x + w.conv(n + "conv_2d_2", act(w.bn(n + "batchnorm_1", z)), planes)
    return w.linear("logits", act(w.bn("batchnorm", x)).mean((2, 3)), 10)


def trades_wide_resnet(w: Weights, x: Tensor, depth: int, factor: int, act: Act) -> Tensor:
    """Return the logits of the WideResNet of TRADES."""
    x = w.conv("conv1", x, 16)
    for stage in range(3):
        planes = 16 * factor * 2**stage
        for i in range((depth - 4) // 6):
            n, stride = f"block{stage + 1}.layer.{i}.", 2 if stage and not i else 1
            z = act(w.bn(n + "bn1", x))
            if x.shape[1] != planes:
                x = w.conv(n + "convShortcut", z, planes, 1, stride)
            z = act(w.bn(n + "bn2", w.conv(n + "conv1", z, planes, stride=stride)))
            x = x + w.conv(n + "conv2", z, planes)
    w.drawn["sub_block1.layer.0.conv1.weight"] = torch.ones(16, 16, 3, 3)  # never used
    return w.linear("fc", act(w.bn("bn1", x)).mean((2, 3)), 10)


def deepmind_wide_resnet(w: Weights, x: Tensor, depth: int, factor: int, act: Act) -> Tensor:
    """Return the logits of the WideResNet of DeepMind's adversarial_robustness."""
    x = w.conv("init_conv", x, 16)
    for stage in range(3):
        planes = 16 * factor * 2**stage
        for i in range((depth - 4) // 6):
            n, stride = f"layer.{stage}.block.{i}.", 2 if stage and not i else 1
            z = act(w.bn(n + "batchnorm_0", x))
            if x.shape[1] != planes:
                x = w.conv(n + "shortcut", z, planes, 1, stride)
            z = act(w.bn(n + "batchnorm_1", _same(w, n + "conv_0", z, planes, stride)))
            x = x + w.conv(n + "conv_1", z, planes)
    return w.linear("logits", act(w.bn("batchnorm", x)).mean((2, 3)), 10)


def _same(w: Weights, name: str, x: Tensor, planes: int, stride: int) -> Tensor:
    """Return a convolution with the padding of TensorFlow."""
    ends = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
    return w.conv(name, F.pad(x, ends), planes, stride=stride, pad=0)
