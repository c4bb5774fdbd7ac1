"""Gates with known scores."""

import torch
from torch import Tensor, nn


class Scores(nn.Module):
    """The mean pixel times fixed scores."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.register_buffer("scores", torch.tensor(scores))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] * self.scores
