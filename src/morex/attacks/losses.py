"""What attacks maximise: a number per example, from a model, images and labels."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.attacks.base import Model, naming_bad_labels

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


class NotOfClasses:
    """Mixed into a loss whose first result is not the logits of the classes.

    An attack cannot judge from such a result whether the model is fooled.
    """


def loss_of_rows(loss: Loss, rows: Tensor) -> Loss:
    """Return the loss of some examples: the same one, unless it holds data for each of them."""
    return loss.rows(rows) if isinstance(loss, PerExample) else loss


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return -log softmax(logits)_y per example, computed in float32: (N, K), (N,) -> (N,)."""
    with naming_bad_labels(logits, y):
        return F.cross_entropy(logits.float(), y, reduction="none")


def lasting_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy, with another scale where its gradient would underflow.

        CE = log(1 + exp(z)),   z = log sum_{k != y} exp(f_k) - f_y

    The gradients of CE and z have the same direction. That of CE vanishes like exp(z): a model
    whose logits are large looks robust, although nothing but their scale has changed. Where z is
    below a limit, at which a gradient of the cross-entropy is useless, the result is z minus that
    limit. It is below zero, so the order of all results is that of the cross-entropy.

    Returns:
        One number per example, (N,), in float32. Above the limit it is the cross-entropy, to the
        last bit, and so is its gradient.
    """
    wide, limit = logits.float(), _limit(logits.dtype)
    plain = cross_entropy(wide, y)
    others = wide.scatter(1, y[:, None], -torch.inf).logsumexp(1)
    odds = others - wide.gather(1, y[:, None])[:, 0]
    return torch.where(odds < limit, odds - limit, plain)


def _limit(dtype: torch.dtype) -> float:
    """Return the log of the least probability whose gradient survives a backward pass.

    Smaller numbers than ``tiny`` lose their digits. The network multiplies the gradient by more
    small factors, so three tenths of the exponents are left to it.
    """
    return 0.7 * max(math.log(torch.finfo(t).tiny) for t in (dtype, torch.float32))


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return max_{k != y} f_k - f_y, above zero where the model is wrong: (N, K), (N,) -> (N,).

    Unlike the cross-entropy it keeps its gradient however large the logits are.
    """
    with naming_bad_labels(logits, y):
        others = logits.float().scatter(1, y[:, None], -torch.inf).amax(1)
    return others - logits.float().gather(1, y[:, None])[:, 0]


def most_likely_wrong(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """Return the ``count`` most likely classes other than y, the likeliest first: (N, count)."""
    with naming_bad_labels(logits, y):
        return logits.scatter(1, y[:, None], -torch.inf).topk(count).indices


@dataclass(frozen=True)
class OfLogits:
    """A loss that needs only the model's logits.

    Args:
        function: logits (N, K), labels (N,) -> one number per example (N,).
    """

    function: Callable[[Tensor, Tensor], Tensor] = lasting_cross_entropy

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and their loss."""
        logits = model(x)
        return logits, self.function(logits, y)


CROSS_ENTROPY: Loss = OfLogits(lasting_cross_entropy)
"""The loss of ``PGD`` by default."""
