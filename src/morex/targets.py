"""Targets: what a training step teaches, and which parameters learn it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.mixture import ExtendedGate, Mixture
from morex.objectives import Batch


class Target(ABC):
    """A cross-entropy between what a model says of a batch and what it should say."""

    @abstractmethod
    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the parameters that learn."""

    @abstractmethod
    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits (N, outputs) and the right answers (N,)."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, a scalar in float32."""
        logits, right = self.answers(model, batch)
        return F.cross_entropy(logits.float(), right)

    def hits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return which examples of the batch are answered right, (N,) of bool."""
        logits, right = self.answers(model, batch)
        return logits.argmax(1) == right


class ClassOfImage(Target):
    """Name the class: everything trainable learns (gate and last layers of a mixture)."""

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return all parameters that are not frozen."""
        return [p for p in model.parameters() if p.requires_grad]

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the model's logits and the labels."""
        return model(batch.x), batch.y


class RightExperts(Target):
    """Name an expert: ``answers`` has a gate's scores (N, m) and which are right (N, m) of bool."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean of -log sum_j w_j over the experts j that are right, w = softmax."""
        scores, right = self.answers(model, batch)
        logs = scores.float().log_softmax(1)
        return -logs.masked_fill(~right, -torch.inf).logsumexp(1).mean()

    def hits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return where the expert of the largest weight is one of the right ones."""
        scores, right = self.answers(model, batch)
        return right.gather(1, scores.argmax(1, keepdim=True))[:, 0]


@dataclass(frozen=True)
class ExpertForMember(RightExperts):
    """Name the perturbation: the gate alone learns which expert an image is for.

    The supervised warm-up of a gate. Without it a gate that starts at random tends to settle on one
    expert before the kinds have become distinguishable.

    The loss is -log sum_j w_j(x') over the experts j that are right: how they share the weight is
    left to them.

    Args:
        experts: for each member of the objective the indices of the experts that are right for it,
            such as the one trained on it.

    Raises:
        ValueError: if the mixture that is to learn has no such expert.
    """

    experts: tuple[tuple[int, ...], ...]

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the gate's parameters."""
        mixture = _mixture(model)
        known = range(len(mixture.expert_names))
        if not all(right and {*right} <= {*known} for right in self.experts):
            raise ValueError(
                f"expected indices of the experts {mixture.expert_names}, got {self.experts}"
            )
        return list(mixture.gate.parameters())

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gate's scores (N, m), and which experts are right (N, m) of bool."""
        scores: Tensor = _mixture(model).gate(batch.x)
        table = _table(batch.y.device, self.experts, scores.shape[1])
        return scores, table[batch.member]


@dataclass(frozen=True)
class NewExperts(RightExperts):
    """Name the experts that joined a mixture (``regrouped``), or none of them.

    Of the gate nothing learns but the network h beside it, a classifier of perturbations whose
    classes are "known", with a score of 0, and every expert that joined:

        min  - log softmax(0, h(x'))_j    j = the expert for x', "known" if it has none

    So whatever an image is, an attacked one that was not among these as well, the known experts
    have their weights in the old proportion. A gate that learns as a whole, distilled from the old
    one on clean images and transforms, forgets what it does with attacked images.

    Args:
        experts: for each member of the objective the index of its new expert; None for members
            that the mixture knew before.

    Raises:
        TypeError: if no expert joined the mixture that is to learn.
        ValueError: if it has no such expert, or knew it before.
    """

    experts: tuple[int | None, ...]

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the parameters of the network beside the gate."""
        return list(_extended(model).joined.parameters())

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores of "known" and of each expert that joined, and which is right.

        Shapes (N, 1 + joined).
        """
        scores = _extended(model).odds(batch.x)
        experts = len(_mixture(model).expert_names)
        known = experts - scores.shape[1] + 1
        if not all(e is None or known <= e < experts for e in self.experts):
            raise ValueError(
                f"expected indices of experts that joined, {known} to {experts - 1}, or None; got "
                f"{self.experts}"
            )
        right = right_odds(self.experts, known)
        return scores, _table(scores.device, right, scores.shape[1])[batch.member]


def right_odds(new: tuple[int | None, ...], known: int) -> tuple[tuple[int, ...], ...]:
    """Return which of the odds "known" and joined are right for each member.

    Args:
        new: for each member the index of its new expert, or None.
        known: how many experts were known.
    """
    return tuple((0,) if expert is None else (expert - known + 1,) for expert in new)


@lru_cache(maxsize=8)
def _table(device: torch.device, right: tuple[tuple[int, ...], ...], experts: int) -> Tensor:
    """Return which experts are right for each member, (members, experts), copied once."""
    return torch.tensor([[i in names for i in range(experts)] for names in right], device=device)


def _mixture(model: nn.Module) -> Mixture:
    if not isinstance(model, Mixture):
        raise TypeError(f"only a Mixture has a gate to warm up, got a {type(model).__name__}")
    return model


def _extended(model: nn.Module) -> ExtendedGate:
    gate = _mixture(model).gate
    if not isinstance(gate, ExtendedGate):
        raise TypeError(f"no expert joined this mixture: its gate is a {type(gate).__name__}")
    return gate
