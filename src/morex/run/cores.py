"""How many stages to do at a time."""

import torch

from morex.core.threads import cores
from morex.recipe import Recipe


def default_jobs(recipe: Recipe, device: torch.device) -> int:
    """Return how many stages to do at a time.

    This is the number of cores divided by the recipe's ``threads``; one if the recipe sets none,
    or on a GPU.
    """
    if recipe.threads is None or device.type != "cpu":
        return 1
    return max(1, cores() // recipe.threads)
