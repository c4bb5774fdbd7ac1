"""A small convolutional network with BatchNorm for real digits, the same on every machine.

``python tests/support/digits_net.py`` trains them anew, in about two seconds. They are stored so
that no test depends on the last bits of a training, which differ between CPUs.
"""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

_WEIGHTS = Path(__file__).with_suffix(".safetensors")


def digits() -> tuple[Tensor, Tensor]:
    """Return all 1,797 images (N, 1, 8, 8) in [0, 1] and labels."""
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16).float().view(-1, 1, 8, 8), torch.tensor(labels)


@cache
def trained_net() -> nn.Sequential:
    """Return a network in evaluation mode that gets 92% of the last 297 images right."""
    model = _network()
    model.load_state_dict(load_file(_WEIGHTS))
    return model.eval()


def unseen(count: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` images that the network was not trained on."""
    x, y = digits()
    return x[1500 : 1500 + count], y[1500 : 1500 + count]


def _network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )


def _train() -> None:
    """Train on the first 1,500 images and store the weights."""
    (x, y), model = digits(), _network()
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(8):
        for rows in torch.randperm(1500).split(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    save_file(model.state_dict(), _WEIGHTS)


if __name__ == "__main__":
    _train()
