"""What attacks on a gate maximise: the weight of one expert, or that of the wrong choices."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from morex.attacks.freezing import Model
from morex.attacks.losses import NotOfClasses, PerExample, cross_entropy, scale_free_cross_entropy
from morex.models.mixture import Mixture

_LEAST = 1e-30
"""Smaller weights are raised to this, so that their logarithm is finite."""


@runtime_checkable
class Gated(Protocol):
    """A model that returns the weights of its gate."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (N, K)."""

    def gate_weights(self, x: Tensor) -> Tensor:
        """Return the weight of every expert, (N, m), which sum to 1."""


@runtime_checkable
class Choosing(Protocol):
    """A model whose gate chooses among experts, or among groups of them."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (N, K)."""

    def choice_weights(self, x: Tensor) -> Tensor:
        """Return the weight of every choice, (N, n), which sum to 1."""


@dataclass(frozen=True)
class TowardsExpert:
    """CE + push * log w_j: the cross-entropy, and a push of the gate towards one expert.

    Args:
        expert: its index j.
        push: lambda, the weight of log w_j.
        fool: whether to add the cross-entropy; without it only the gate is attacked.
    """

    expert: int
    push: float = 1.0
    fool: bool = True

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and CE + push * log w_j per example."""
        towards = _log_weights(model, x)[:, self.expert]
        logits, value = model(x), self.push * towards
        return logits, value + cross_entropy(logits, y) if self.fool else value


@dataclass(frozen=True, eq=False)
class TowardsEach(PerExample):
    """CE + push_n log w_{j_n}: every example n pushes the gate to an expert j_n.

    Args:
        experts: the indices j_n, (N,), int64.
        pushes: the weights of log w, (N,); 0 leaves only the cross-entropy.
    """

    experts: Tensor
    pushes: Tensor

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and the loss per example."""
        towards = _log_weights(model, x).gather(1, self.experts[:, None])[:, 0]
        logits = model(x)
        return logits, cross_entropy(logits, y) + self.pushes * towards

    def rows(self, rows: Tensor) -> "TowardsEach":
        """Return the loss of some examples."""
        return TowardsEach(self.experts[rows], self.pushes[rows])


@dataclass(frozen=True)
class AwayFromChoices(NotOfClasses):
    """-log sum_j w_j over the correct choices j: moves the gate's weight to the wrong ones.

    Only the gate is evaluated. ``PGD`` with this loss attacks the gate as a classifier of
    perturbations.

    Args:
        right: indices of the correct choices in ``Mixture.choices``.
    """

    right: tuple[int, ...]

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of all choices, and the loss per example."""
        if not isinstance(model, Choosing):
            raise TypeError(
                f"{type(model).__name__} has no choice_weights; this attack needs a mixture "
                "with a gate"
            )
        weights = model.choice_weights(x)
        check_choices([self.right], weights.shape[1])
        return weights, -_log(torch.stack([weights[:, j] for j in self.right]).sum(0))


@dataclass(frozen=True)
class EveryExpertAsked:
    """The cross-entropy of a sparse mixture as if every expert were asked.

    Routing hides the gradient of the experts that are not asked, and with a single expert that of
    the gate. The mixture without routing hides nothing. Its gradient leads the search, and the
    sparse mixture alone decides what is fooled.
    """

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the model, and the cross-entropy of the mixture without routing."""
        if not isinstance(model, Mixture):
            raise TypeError(f"{type(model).__name__} sends no image to a part of its experts")
        with torch.no_grad():
            logits = model(x)
        return logits, scale_free_cross_entropy(model.dense_logits(x), y)


def is_sparse(model: Model) -> bool:
    """Return whether a model asks only some of its experts for an image."""
    return isinstance(model, Mixture) and model.routing is not None


def check_choices(right: Iterable[Collection[int]], count: int) -> None:
    """Raise ``ValueError`` unless each collection is non-empty and all indices are below count."""
    if not all(indices and {*indices} <= {*range(count)} for indices in right):
        raise ValueError(
            f"the gate chooses among {count}: expected indices below that, at least one for each "
            f"perturbation, got {right}"
        )


def _log_weights(model: Model, x: Tensor) -> Tensor:
    """Return the logarithm of every weight, (N, m).

    That of a tiny one is taken from the scores of a mixture's gate. So it keeps its gradient,
    without which an expert that the gate hides could not be found.
    """
    if not isinstance(model, Gated):
        raise TypeError(
            f"{type(model).__name__} has no gate_weights; this loss needs a mixture with a gate"
        )
    if not isinstance(model, Mixture):
        return _log(model.gate_weights(x))
    scores = model.scores(x)
    weights = torch.softmax(scores, dim=1)
    return torch.where(weights < _LEAST, scores.log_softmax(1), _log(weights))


def _log(weights: Tensor) -> Tensor:
    return weights.clamp_min(_LEAST).log()
