"""Targets: what a training step teaches, and which parameters learn it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.mixture import Mixture
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


@dataclass(frozen=True)
class ExpertForMember(Target):
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

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean of -log of the weight that the right experts have together."""
        scores, right = self.answers(model, batch)
        logs = scores.float().log_softmax(1)
        return -logs.masked_fill(~right, -torch.inf).logsumexp(1).mean()

    def hits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return where the expert of the largest weight is one of the right ones."""
        scores, right = self.answers(model, batch)
        return right.gather(1, scores.argmax(1, keepdim=True))[:, 0]


@dataclass(frozen=True, eq=False)
class NewExperts(Target):
    """Name the new experts, and leave everything else as it was: the gate alone learns.

    For a mixture that got experts (``regrouped``). On images of a new perturbation the right answer
    is its expert; on all others it is what the gate said before of the old experts:

        min  - sum_i q_i log w_i(x'),   q = softmax of the scores before, over the old experts

    the distillation of Li and Hoiem (Learning without Forgetting, 2016).

    Args:
        before: the gate as it was when the experts joined, with an output for each of them; a copy
            in evaluation mode.
        experts: for each member of the objective the index of its new expert; None for members
            that the mixture knew before.

    Raises:
        ValueError: if the mixture that is to learn has no such expert.
    """

    before: nn.Module
    experts: tuple[int | None, ...]

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the gate's parameters."""
        return ExpertForMember((self._new(),)).parameters(model)

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gate's scores (N, m), and how it should weight the experts (N, m)."""
        scores: Tensor = _mixture(model).gate(batch.x)
        with torch.no_grad():
            old: Tensor = self.before(batch.x).float()
        new = _on(old.device, self._new())
        kept = torch.softmax(old.index_fill(1, new, -torch.inf), dim=1)
        named = _on(old.device, tuple(-1 if e is None else e for e in self.experts))[batch.member]
        one_hot = F.one_hot(named.clamp(min=0), old.shape[1]).to(kept.dtype)
        return scores, torch.where(named[:, None] < 0, kept, one_hot)

    def hits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return where the expert of the largest weight is the one that it should be."""
        scores, weights = self.answers(model, batch)
        return scores.argmax(1) == weights.argmax(1)

    def _new(self) -> tuple[int, ...]:
        return tuple(expert for expert in self.experts if expert is not None)


@lru_cache(maxsize=8)
def _on(device: torch.device, numbers: tuple[int, ...]) -> Tensor:
    """Return numbers as a tensor, copied to the device once and not in every step."""
    return torch.tensor(numbers, device=device)


@lru_cache(maxsize=8)
def _table(device: torch.device, right: tuple[tuple[int, ...], ...], experts: int) -> Tensor:
    """Return which experts are right for each member, (members, experts), copied once."""
    return torch.tensor([[i in names for i in range(experts)] for names in right], device=device)


def _mixture(model: nn.Module) -> Mixture:
    if not isinstance(model, Mixture):
        raise TypeError(f"only a Mixture has a gate to warm up, got a {type(model).__name__}")
    return model
