"""A convolution and its BatchNorm, folded into one convolution while nothing learns."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """A convolution without bias, then BatchNorm.

    In evaluation mode BatchNorm is an affine map of every channel. Both together are then one
    convolution with weight w * s and bias b - m * s, where s = g / sqrt(v + eps). Between ``fold``
    and ``unfold`` this convolution is computed instead, without gradients for the weights. Its
    weight is made in the first forward pass: while only the gate of a mixture is used, no expert
    pays for folding. Compiled code makes it in every pass, which costs nothing there.

    Args:
        inputs, outputs: the numbers of channels.
        kernel: the side of the kernel; the padding is half of it, rounded down.
        stride: the stride of the convolution.
        pads_end: as for ``convolution``.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, *, pads_end: bool = False
    ) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel, stride, pads_end=pads_end)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.folded = False
        self._made: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised convolution of (N, inputs, H, W)."""
        if self.folded:
            out: Tensor = self.conv._conv_forward(x, *self._folded_weights())
        else:
            out = self.norm(self.conv(x))
        return out

    @torch.no_grad()
    def bake(self) -> None:
        """Become one convolution for good, which cannot be trained as before or saved."""
        conv, (weight, bias) = self.conv, self._one_convolution()
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        baked = type(conv)(conv.in_channels, conv.out_channels, kernel, stride, kernel // 2)
        baked.weight, baked.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.conv, self.norm = baked, nn.Identity()

    def fold(self) -> None:
        """Compute one convolution from now on; weights and statistics must not change meanwhile."""
        self._set_folded(True)

    def _folded_weights(self) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():  # fused with the rounding for autocast: no need to keep
            return self._one_convolution()
        self._made = self._made or self._one_convolution()
        return self._made

    @torch.no_grad()
    def _one_convolution(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias of the folded convolution."""
        norm, state = self.norm, dict(self.norm.named_buffers())
        assert isinstance(norm, nn.BatchNorm2d)
        scale = norm.weight * torch.rsqrt(state["running_var"] + norm.eps)
        weight = self.conv.weight * scale.view(-1, 1, 1, 1)
        return weight, norm.bias - state["running_mean"] * scale

    def unfold(self) -> None:
        """Compute convolution and normalisation again."""
        self._set_folded(False)

    def _set_folded(self, folded: bool) -> None:
        """Set attributes without nn.Module's slow checks: every training step folds and unfolds."""
        object.__setattr__(self, "folded", folded)
        object.__setattr__(self, "_made", None)


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int, *, pads_end: bool = False
) -> nn.Conv2d:
    """Return a convolution without bias, padded by half of its kernel.

    Args:
        inputs, outputs: the numbers of channels.
        kernel: the side of the kernel.
        stride: the stride.
        pads_end: whether a strided 3x3 convolution pads the right and the lower edge only.
    """
    kind: type[nn.Conv2d] = _Pointwise if kernel == 1 else nn.Conv2d
    if pads_end and kernel == 3 and stride == 2:
        kind = _PaddedAtEnd
    return kind(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class _PaddedAtEnd(nn.Conv2d):
    """A 3x3 convolution with stride 2 that pads the right and the lower edge only.

    This is the padding ``SAME`` of TensorFlow and JAX for images with even sides.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias, self.stride)


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution that drops the skipped pixels first and then has a stride of 1.

    The weight gradient of a strided 1x1 convolution of few channels in channels-last memory is
    wrong or crashes on CPUs (torch 2.13, oneDNN issue 6035). Without a stride it is right.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        down, right = self.stride
        return F.conv2d(x[:, :, ::down, ::right], weight, bias)
