"""Targets: what a training step teaches, and which parameters learn it."""

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.mixture import Mixture
from morex.networks import LAST_LAYER
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


class NewExperts(RightExperts):
    """Name the new experts, and share the weight among the others as before.

    For a mixture that got experts (``regrouped``). Of the gate nothing learns but its outputs for
    them, a logistic regression on what its body sees in an image:

        s_i = what the gate said before, for old experts,    s_j = u_j . phi(x') + b_j for new ones
        w = softmax(s)

        min  - log w_j(x') on images of a new perturbation,  - log sum_i w_i(x') on all others

    So whatever an image is, an attacked one that the gate has not seen here as well, the old
    experts have their weights in the old proportion. New are also those that joined in an earlier
    extension: what the body sees was learnt without them, and all such outputs learn together. A
    gate that learns as a whole, distilled from the old one on clean images and transforms, forgets
    what it does with attacked images.

    Weight decay would shrink the outputs for the old experts, too: train without.

    Args:
        gate: as it is now that the experts have joined; copied.
        experts: for each member of the objective the index of its new expert; None for members
            that the mixture knew before.
        layer: the dotted name of the gate's last linear layer.

    Raises:
        ValueError: if the mixture that is to learn has no such expert.
    """

    def __init__(
        self, gate: nn.Module, experts: tuple[int | None, ...], layer: str = LAST_LAYER
    ) -> None:
        self.experts = experts
        self.layer = layer
        self.body = deepcopy(gate).eval().requires_grad_(False)
        self.before = self.body.get_submodule(layer)
        self.body.set_submodule(layer, nn.Identity())

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return weight and bias of the gate's last layer."""
        ExpertForMember((self._new(),)).parameters(model)  # says if there is no such expert
        return list(self._last(model).parameters())

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gate's scores (N, m), and which experts are right (N, m) of bool."""
        with torch.no_grad():
            seen = self.body(batch.x)
            before = self.before(seen).float()
        now = self._last(model)(seen).float()
        experts = now.shape[1]
        table = _table(now.device, right_experts(self.experts, experts), experts)
        is_new = _table(now.device, (self._new(),), experts)
        return torch.where(is_new, now, before), table[batch.member]

    def _last(self, model: nn.Module) -> nn.Module:
        return _mixture(model).gate.get_submodule(self.layer)

    def _new(self) -> tuple[int, ...]:
        return tuple(expert for expert in self.experts if expert is not None)


def right_experts(new: tuple[int | None, ...], experts: int) -> tuple[tuple[int, ...], ...]:
    """Return the right ones of so many experts for each member: its new one, or all old ones.

    Args:
        new: for each member the index of its new expert, or None.
        experts: how many there are, old and new.
    """
    old = tuple(sorted({*range(experts)} - {*new}))
    return tuple(old if expert is None else (expert,) for expert in new)


@lru_cache(maxsize=8)
def _table(device: torch.device, right: tuple[tuple[int, ...], ...], experts: int) -> Tensor:
    """Return which experts are right for each member, (members, experts), copied once."""
    return torch.tensor([[i in names for i in range(experts)] for names in right], device=device)


def _mixture(model: nn.Module) -> Mixture:
    if not isinstance(model, Mixture):
        raise TypeError(f"only a Mixture has a gate to warm up, got a {type(model).__name__}")
    return model
