"""A step of PGD training as it is usually written, against a step of morex."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measuring import Measurement, ratio
from benchmarks.networks import images, resnet18
from morex import TrainingConfig, TrainingData, train
from morex.attacks import PGD
from morex.data import Augment, ImageSet
from morex.perturbations import Linf
from morex.training import Single

_BATCH, _ATTACK_STEPS, _EPS = 64, 3, 8 / 255


def measure() -> Iterator[Measurement]:
    """Compare the two at the paper's width."""
    x, y = images(_BATCH + 1)
    pixels = (x * 255).round().byte().contiguous()
    whole = ImageSet(pixels, y, tuple("0123456789"))
    data = TrainingData(
        whole.first(_BATCH), whole.take(torch.tensor([_BATCH])), Augment(crop=4, flip=True)
    )
    objective = Single((PGD(Linf(_EPS), steps=_ATTACK_STEPS),))
    config = TrainingConfig(epochs=1, batch_size=_BATCH)
    ours = resnet18(64)
    theirs = resnet18(64, memory_format=torch.contiguous_format)
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    array, labels = pixels[:_BATCH].permute(0, 2, 3, 1).numpy(), y[:_BATCH]

    value, about = ratio(
        lambda: _usual_step(theirs, optimizer, array, labels),
        lambda: train(ours, objective, data, config),
        rounds=3,
    )
    about |= {"width": 64, "batch": _BATCH, "attack_steps": _ATTACK_STEPS}
    yield Measurement("usual PGD training step / morex's", value, 2.5, about=about)


def _usual_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, array: np.ndarray, y: Tensor
) -> None:
    """Augment image by image, attack in training mode with weight gradients, update; in float32."""
    x = torch.stack([_augmented(image) for image in array])
    model.train()
    moved = (x + torch.empty_like(x).uniform_(-_EPS, _EPS)).clamp(0, 1)
    for _ in range(_ATTACK_STEPS):
        moved = moved.detach().requires_grad_()
        F.cross_entropy(model(moved), y).backward()  # type: ignore[no-untyped-call]
        assert moved.grad is not None
        moved = moved + 2.5 * _EPS / _ATTACK_STEPS * moved.grad.sign()
        moved = torch.min(torch.max(moved, x - _EPS), x + _EPS).clamp(0, 1)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(moved.detach()), y)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    loss.item()


def _augmented(image: np.ndarray) -> Tensor:
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    top, left = np.random.randint(9, size=2)
    image = padded[top : top + 32, left : left + 32]
    if np.random.rand() < 0.5:
        image = image[:, ::-1]
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255
