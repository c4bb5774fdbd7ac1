"""A mixture whose gate hides a weak expert from plain PGD, and images that it gets right."""

import torch
from torch import Tensor, nn

from morex.perturbations import Linf

BALL = Linf(0.1)


class Weak(nn.Module):
    """Class 0 for pictures with more light on the left; gives way to a small perturbation."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[..., :2].mean((1, 2, 3)), x[..., 2:].mean((1, 2, 3))
        return 50 * torch.stack([left - right, right - left], 1)


class Strong(nn.Module):
    """Class 0 for dark pictures; the perturbation is too small to change it."""

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((1, 2, 3)) - 0.5
        return 20 * torch.stack([-light, light], 1)


class Routed(nn.Module):
    """A mixture whose gate sends nearly all to the strong expert, and is blind to the class.

    The gate looks at a contrast between rows, which neither expert sees. On the images below it
    saturates: the gradient of the cross-entropy through it is far too small to be followed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([Strong(), Weak()])

    def gate_weights(self, x: Tensor) -> Tensor:
        contrast = x[:, :, ::2].mean((1, 2, 3)) - x[:, :, 1::2].mean((1, 2, 3))
        return torch.softmax(torch.stack([contrast * 0 + 30, 400 * contrast], 1), 1)

    choice_weights = gate_weights

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate_weights(x)
        logits = torch.stack([expert(x) for expert in self.experts], 1)
        return (weights[..., None] * logits).sum(1)


def pictures() -> tuple[Tensor, Tensor]:
    """Return dark and bright pictures, all right, with a little more light on the matching side."""
    x = torch.full((8, 3, 4, 4), 0.25)
    x[4:] = 0.75
    y = torch.tensor([0] * 4 + [1] * 4)
    x[:4, ..., :2] += 0.02
    x[4:, ..., 2:] += 0.02
    return x, y
