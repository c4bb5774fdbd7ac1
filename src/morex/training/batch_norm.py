"""BatchNorm over the batch of all processes, with the formula of ``torch.nn.BatchNorm2d``.

    y = w (x - m) / sqrt(v + eps) + b,   m, v over all images and pixels of the whole batch

The forward pass adds up counts, sums and sums of squares over the processes, and the backward pass
the two sums that a gradient needs. (``torch.nn.SyncBatchNorm`` does so on GPUs only.)
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm

from morex.core.units import with_article
from morex.training.world import World

_KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def over_processes(models: Iterable[nn.Module], world: World) -> Iterator[None]:
    """Let BatchNorm in training mode span the processes of a world inside a ``with`` block.

    Every process must call the layers in the same order.

    Raises:
        ValueError: if a layer may normalise over its batch in a way that is not known here.
    """
    layers = []
    if world.several:
        layers = [layer for model in models for layer in _layers(model)]
    for layer in layers:
        layer.forward = partial(_forward, layer, world)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers of a model that normalise over a batch while it is trained."""
    model.train()  # a mixture leaves its frozen parts in evaluation mode
    found = list[_BatchNorm]()
    for name, module in model.named_modules():
        if not module.training:
            continue
        if type(module) in _KNOWN:
            assert isinstance(module, _BatchNorm)
            found.append(module)
        elif isinstance(module, _BatchNorm | torch.jit.ScriptModule):
            kind = with_article(type(module).__name__)
            raise ValueError(
                f"a training on several processes needs BatchNorm of torch.nn, but {name} is "
                f"{kind}, whose statistics would be those of a shard; train it in one process"
            )
    return found


def _forward(layer: _BatchNorm, world: World, x: Tensor) -> Tensor:
    """Do what ``layer.forward`` does, over the batch of all processes if it is trained."""
    if not layer.training:
        return type(layer).forward(layer, x)
    layer._check_input_dim(x)  # type: ignore[no-untyped-call]
    weight = x.new_ones(x.shape[1]) if layer.weight is None else layer.weight
    bias = torch.zeros_like(weight) if layer.bias is None else layer.bias
    normalised: Any = _Normalised.apply
    out, mean, variance, count = normalised(x, weight, bias, layer.eps, world)
    if layer.track_running_stats:
        _track(layer, mean, variance * (count / (count - 1)).to(variance.dtype))
    return out  # type: ignore[no-any-return]


@torch.no_grad()
def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics, as ``torch.nn.BatchNorm2d`` does."""
    tracked = dict(layer.named_buffers())
    count = tracked["num_batches_tracked"].add_(1)
    share = 1 / count.to(mean.dtype) if layer.momentum is None else layer.momentum
    tracked["running_mean"].lerp_(mean, share)
    tracked["running_var"].lerp_(variance, share)


class _Normalised(Function):
    """BatchNorm with the statistics of all processes.

    PyTorch's own kernels normalise by given statistics. Their gradient takes these for constants;
    what is missing from it are two terms with the sums of the gradients over the whole batch.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return y, the mean and the (biased) variance of every channel, and their count."""
        mean, variance, count = _moments(x, world)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.world = eps, world
        out = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)[0]
        ctx.mark_non_differentiable(mean, variance, count)
        return out, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients for x, weight and bias."""
        x, weight, mean, variance, count = ctx.saved_tensors
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([to_bias, to_weight])
        ctx.world.add_up([sums])
        inverse = torch.rsqrt(variance + ctx.eps)
        constant, linear = sums / count.to(sums.dtype) * (weight * inverse)
        centred = (x - _along(mean, x)) * _along(linear * inverse, x)
        to_x = to_x - (centred + _along(constant, x)).to(to_x.dtype)
        return to_x, to_weight, to_bias, None, None


def _moments(x: Tensor, world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of every channel over all processes, and the number of values."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean, variance = torch.batch_norm_update_stats(wide, None, None, 0.0)
    here = x.numel() // x.shape[1]
    means = mean.double()
    sums = torch.stack([means, variance.double() + means.square()]) * here
    count = torch.full((), here, dtype=torch.float64, device=x.device)
    world.add_up([sums, count])
    means, squares = sums / count
    variances = (squares - means.square()).clamp(min=0)
    return means.to(mean.dtype), variances.to(mean.dtype), count


def _along(channels: Tensor, x: Tensor) -> Tensor:
    """Return numbers for each channel in the shape (1, C, 1, ...) of a batch."""
    return channels.view(1, -1, *(1,) * (x.ndim - 2))
