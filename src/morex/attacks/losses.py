"""What attacks maximise: a number per example, from a model, images and labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.attacks.base import naming_bad_labels
from morex.attacks.freezing import Model
from morex.core.asking import asking_is_free

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
    """Return -log softmax(logits)_y per example, computed in float32: (N, K), (N,) -> (N,).

    It is exact where it is small, too. PyTorch's is 0 from log-odds of 17 on, so that the best of
    several images could not be told; its gradient is right.
    """
    return _with_odds(logits.float(), y)[0]


_SMALL = 1e-3
"""Cross-entropies below this are computed from the log-odds of the other classes."""


def _with_odds(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy, and without a gradient the log-odds z of a wrong answer.

    CE = log(1 + exp(z)), so z has the order of CE.
    """
    with naming_bad_labels(logits, y):
        value = F.cross_entropy(logits, y, reduction="none")
    fixed = logits.detach()
    others = fixed.scatter(1, y[:, None], -torch.inf).logsumexp(1)
    odds = others - fixed.gather(1, y[:, None])[:, 0]
    exact = F.softplus(odds) + (value - value.detach())
    return torch.where(value.detach() < _SMALL, exact, value), odds


_ORDINARY = (0.1, 100.0)
"""Spreads of logits, from the least to the largest, at which the cross-entropy leads a search well.
Trained networks are inside, mostly from 5 to 40."""

_GOOD = 10.0
"""A spread that is good for the gradient: in single precision no probability rounds to 1."""

_ALMOST_SURE = -80.0
"""Log-odds of a wrong answer, below which the cross-entropy is too small to be compared."""


def scale_free_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy, with the gradient of scaled logits if their spread is unusual.

    A factor on the logits changes no decision, but it can blind a search. The gradient of the
    cross-entropy vanishes where logits are large; where they are small, it pushes all wrong classes
    at once. So a model would look more robust than it is. The spread is the largest logit of an
    example less its least. Outside of [0.1, 100] the gradient is that at a spread of 10.

    Returns:
        One number per example, (N,), in float32, ordered like the cross-entropy. Where the spread
        is usual it is the cross-entropy, to the last bit, and so is its gradient.
    """
    wide = logits.float()
    plain, odds = _with_odds(wide, y)
    least, most = _ORDINARY
    spread = _spread(wide)[:, 0]
    usual = (spread >= least) & (spread <= most)
    if asking_is_free(wide.device) and bool(usual.all()):
        return plain  # the rest would change no bit; on an accelerator the check costs more
    unit = wide / wide.detach().abs().amax(1, keepdim=True).clamp_min(1e-30)  # cannot overflow
    scaled = cross_entropy(unit * (_GOOD / _spread(unit).clamp_min(1e-6)), y)
    comparable = torch.where(odds < _ALMOST_SURE, odds - _ALMOST_SURE, plain.detach())
    return torch.where(usual, plain, comparable + (scaled - scaled.detach()))


def _spread(logits: Tensor) -> Tensor:
    """Return the largest less the least logit of every example, (N, 1), without a gradient."""
    fixed = logits.detach()
    return fixed.amax(1, keepdim=True) - fixed.amin(1, keepdim=True)


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


@dataclass(frozen=True, repr=False)
class OfLogits:
    """A loss that needs only the model's logits.

    Args:
        function: logits (N, K), labels (N,) -> one number per example (N,).
    """

    function: Callable[[Tensor, Tensor], Tensor] = scale_free_cross_entropy

    def __repr__(self) -> str:
        """Return the name of the function, not its address, which differs between processes."""
        return f"OfLogits({getattr(self.function, '__name__', self.function)})"

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and their loss."""
        logits = model(x)
        return logits, self.function(logits, y)


SCALE_FREE: Loss = OfLogits(scale_free_cross_entropy)
"""The loss of ``PGD`` by default."""

CROSS_ENTROPY: Loss = OfLogits(cross_entropy)
"""The loss of PGD in training, which descends the same."""
