"""The forward and backward passes that the benchmarks compare with."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.core.precision import Precision, autocast

_CPU = torch.device("cpu")


def forward(model: nn.Module, x: Tensor, precision: Precision = "auto") -> None:
    """Send images through a model."""
    with torch.no_grad(), autocast(precision, _CPU):
        model(x)


def input_gradient(model: nn.Module, x: Tensor, y: Tensor, precision: Precision = "auto") -> None:
    """Differentiate the loss with respect to the images."""
    moved = x.detach().requires_grad_()
    with autocast(precision, _CPU):
        loss = F.cross_entropy(model(moved).float(), y)
    torch.autograd.grad(loss, moved)


def weight_gradient(model: nn.Module, x: Tensor, y: Tensor, precision: Precision = "auto") -> None:
    """Differentiate the loss with respect to the weights."""
    with autocast(precision, _CPU):
        loss = F.cross_entropy(model(x).float(), y)
    loss.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
