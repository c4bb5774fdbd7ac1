"""A small network that knows nothing of morex: an expert for ``own_experts.py``."""

import torch
from torch import nn


class SmallNet(nn.Module):
    """An expert: any module that takes images in [0, 1] to logits and ends in a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU()
        )
        self.fc = nn.Linear(144, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.fc(self.features(x).flatten(1))
        return logits
