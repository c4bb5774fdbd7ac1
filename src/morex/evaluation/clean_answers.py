"""How often a model predicts each class: a model that predicts one class for everything shows."""

import torch

from morex.attacks import Model, frozen
from morex.core.precision import exact_float32
from morex.data import ImageSet


@torch.no_grad()
def answers_per_class(model: Model, data: ImageSet, *, batch_size: int = 256) -> tuple[int, ...]:
    """Return how many images a model predicts to be of each of the K classes, (K,).

    Images for which a logit is not finite count for no class.

    Args:
        model: images (N, C, H, W) in [0, 1] to logits (N, K), on the device of the data.
        data: the images, which are not attacked.
        batch_size: images at a time.
    """
    counts: list[torch.Tensor] = []
    with exact_float32(), frozen(model):
        for start in range(0, len(data), batch_size):
            logits = model(data.pixels(slice(start, start + batch_size)))
            said = logits.argmax(1)[logits.isfinite().all(1)]
            counts.append(torch.bincount(said, minlength=logits.shape[1]).cpu())
    return tuple(torch.stack(counts).sum(0).tolist())
