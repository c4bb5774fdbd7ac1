"""How many stages to do at a time, and on which GPUs."""

import os

import torch

from morex.core.threads import cores
from morex.recipe import Recipe


def default_jobs(recipe: Recipe, device: torch.device) -> int:
    """Return how many stages to do at a time.

    On a CPU this is the number of cores divided by the recipe's ``threads``, and one if the recipe
    sets none. On ``cuda`` it is the number of GPUs, and on one of them, such as ``cuda:1``, one.
    """
    if device.type == "cuda":
        return max(1, len(visible_gpus(device)))
    if recipe.threads is None or device.type != "cpu":
        return 1
    return max(1, cores() // recipe.threads)


def visible_gpus(device: torch.device) -> list[str]:
    """Return the GPUs that stages may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    There are none if there is only one GPU, or ``device`` is one of them: then nothing is chosen.
    """
    if str(device) != "cuda":
        return []
    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if count < 2:
        return []
    return named[:count] if len(named) >= count else [str(i) for i in range(count)]
