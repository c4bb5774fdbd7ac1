"""What attacks maximise: a number per example, from a model, images and labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.attacks.base import Model

Loss = Callable[[Model, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Model, images and labels (N,) to logits (N, K) and one number per example (N,)."""


class PerExample(ABC):
    """A loss that holds data for every example of a search, such as a target.

    An attack that computes such data builds the loss at the start of its search. ``PGD`` selects
    the rows of the examples that it still searches.
    """

    @abstractmethod
    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (N, K) and one number per example (N,)."""

    @abstractmethod
    def rows(self, rows: Tensor) -> "PerExample":
        """Return the loss of some examples, given by their indices or by a mask (N,)."""


def loss_of_rows(loss: Loss, rows: Tensor) -> Loss:
    """Return the loss of some examples: the same one, unless it holds data for each of them."""
    return loss.rows(rows) if isinstance(loss, PerExample) else loss


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return -log softmax(logits)_y per example, computed in float32: (N, K), (N,) -> (N,)."""
    return F.cross_entropy(logits.float(), y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return max_{k != y} f_k - f_y, above zero where the model is wrong: (N, K), (N,) -> (N,).

    Unlike the cross-entropy it keeps its gradient however large the logits are.
    """
    others = logits.float().scatter(1, y[:, None], -torch.inf).amax(1)
    return others - logits.float().gather(1, y[:, None])[:, 0]


def most_likely_wrong(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """Return the ``count`` most likely classes other than y, the likeliest first: (N, count)."""
    return logits.scatter(1, y[:, None], -torch.inf).topk(count).indices


@dataclass(frozen=True)
class OfLogits:
    """A loss that needs only the model's logits.

    Args:
        function: logits (N, K), labels (N,) -> one number per example (N,).
    """

    function: Callable[[Tensor, Tensor], Tensor] = cross_entropy

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and their loss."""
        logits = model(x)
        return logits, self.function(logits, y)


CROSS_ENTROPY: Loss = OfLogits(cross_entropy)
"""The loss of ``PGD`` by default."""
