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

    Args:
        experts: for each member of the objective the index of the expert trained on it.

    Raises:
        ValueError: if the mixture that is to learn has no such expert.
    """

    experts: tuple[int, ...]

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the gate's parameters."""
        mixture = _mixture(model)
        if not all(0 <= expert < len(mixture.expert_names) for expert in self.experts):
            raise ValueError(
                f"expected indices of the experts {mixture.expert_names}, got {self.experts}"
            )
        return list(mixture.gate.parameters())

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gate's scores and the experts they should name."""
        return _mixture(model).gate(batch.x), _on(batch.y.device, self.experts)[batch.member]


@lru_cache(maxsize=8)
def _on(device: torch.device, numbers: tuple[int, ...]) -> Tensor:
    """Return numbers as a tensor, copied to the device once and not in every step."""
    return torch.tensor(numbers, device=device)


def _mixture(model: nn.Module) -> Mixture:
    if not isinstance(model, Mixture):
        raise TypeError(f"only a Mixture has a gate to warm up, got a {type(model).__name__}")
    return model
