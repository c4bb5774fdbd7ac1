"""The best image that a search has found so far: what fools outranks any loss."""

from typing import Literal, get_args

import torch
from torch import Tensor

Goal = Literal["fool", "loss"]
"""What a search is after. ``fool``: an image that fools the model, and only then a large loss; an
image with a larger loss may be classified correctly all the same. ``loss``: the largest loss, as
training needs it."""


def check_goal(goal: str) -> None:
    """Raise ``ValueError`` if there is no such goal."""
    if goal not in get_args(Goal):
        raise ValueError(f"goal: expected {' or '.join(get_args(Goal))}, got {goal!r}")


class Best:
    """The best image found so far for every example: one that fools, then the largest loss.

    Attributes:
        x: the images, (N, C, H, W); at first those where the search begins.
        score: their loss, (N,).
        fallen: where they fool the model, (N,) of bool.
        seen: whether any image was seen.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x.clone()
        self.score = x.new_full(x.shape[:1], -torch.inf, dtype=torch.float32)
        self.fallen = torch.zeros_like(self.score, dtype=torch.bool)
        self.seen = False

    def update(self, rows: Tensor, moved: Tensor, fallen: Tensor | None, score: Tensor) -> None:
        """Keep ``moved`` for those ``rows`` where it is better than the best so far.

        Args:
            rows: the rows that were searched, (n,).
            moved: their images.
            fallen: where these fool the model, (n,) of bool; None if only the loss matters.
            score: their loss, (n,).
        """
        self.seen, score = True, score.to(self.score.dtype)
        better = score > self.score[rows]
        if fallen is not None:
            before = self.fallen[rows]
            better = (fallen & ~before) | (fallen == before) & better
            self.fallen[rows] = fallen | before
        self.score[rows] = torch.where(better, score, self.score[rows])
        self.x[rows] = torch.where(better.view(-1, 1, 1, 1), moved.detach(), self.x[rows])
