"""Criteria: what a training step teaches, and which parameters learn it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.attacks import divergence, fooled, is_wrong
from morex.attacks.gate_losses import check_choices
from morex.core.units import with_article
from morex.models.gates import ExtendedGate
from morex.models.mixture import Mixture
from morex.training.objectives import Average, Batch, Objective
from morex.training.world import fair_count


class Criterion(ABC):
    """A cross-entropy between the answers of a model and the right answers."""

    divisible: ClassVar[bool] = False
    """Whether the loss is a mean over images, so that several processes can each have some of them.

    A criterion of your own may compare the images of a batch, so it has to say so itself.
    """

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the parameters that learn: by default all that are not frozen."""
        return [p for p in model.parameters() if p.requires_grad]

    @abstractmethod
    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits (N, outputs) and the right answers (N,)."""

    @property
    def images(self) -> int:
        """The number of images that the loss sends through the model for each image of a batch."""
        return 1

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, a scalar in float32."""
        logits, right = self.answers(model, batch)
        return F.cross_entropy(logits.float(), right)

    @property
    def teaches_labels(self) -> bool:
        """Whether the right answers are the classes of the images."""
        return True

    def check(self, objective: Objective) -> None:
        """Raise ``ValueError`` if the batches of an objective are not what the criterion needs."""
        return

    def smoothed(self, share: float) -> "Criterion":
        """Return the criterion with labels smoothed by ``share``; by default it ignores it."""
        return self

    def hits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return where the model gives the right answer, (N,) of bool."""
        logits, right = self.answers(model, batch)
        return ~fooled(logits, right)


@dataclass(frozen=True)
class ClassOfImage(Criterion):
    """Name the class of the image: all parameters that are not frozen learn.

    In a mixture these are the gate and the last layers of the experts. With smoothed labels
    (Szegedy et al. 2016, section 7) the loss over K classes is

        (1 - s) * -log p_y  +  s * mean_k -log p_k    s = label_smoothing

    Args:
        label_smoothing: the share of each label that is spread evenly over all classes, in [0, 1).
    """

    divisible: ClassVar[bool] = True

    label_smoothing: float = 0.0

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the model's logits and the labels."""
        return model(batch.x), batch.y

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean cross-entropy with smoothed labels, a scalar in float32."""
        logits, right = self.answers(model, batch)
        return F.cross_entropy(logits.float(), right, label_smoothing=self.label_smoothing)

    def smoothed(self, share: float) -> "ClassOfImage":
        """Return the criterion with labels smoothed by ``share``; itself if they are already."""
        return self if self.label_smoothing else replace(self, label_smoothing=share)


@dataclass(frozen=True)
class LogitPairing(Criterion):
    """Name the class of the worse of two x', and answer both alike (RAMP, Jiang & Singh 2024).

    A batch has the x'_q of all images and then their x'_r, as ``Average`` over the key pair of
    balls returns them. The loss is

        mean max( L(f(x'_q), y), L(f(x'_r), y) )  +  weight * mean KL( p(x'_q) || p(x'_r) )

    where p = softmax(f) and the second mean is over the images for which f(x'_q) is right. Both
    gradients of the divergence are used. (RAMP takes the worse of the two as the attack sees it, in
    evaluation mode and in a batch of its own; here it is the one with the larger loss in the step.)

    Args:
        weight: of the divergence (lambda), positive; 5 in RAMP from random weights and 1.5 in its
            fine-tuning.
        label_smoothing: as for ``ClassOfImage``, in the losses L.

    Raises:
        ValueError: if the weight is not positive.
    """

    divisible: ClassVar[bool] = True

    weight: float
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the weight."""
        if not self.weight > 0:
            raise ValueError(f"the weight of logit pairing must be positive, got {self.weight}")

    def check(self, objective: Objective) -> None:
        """Raise ``ValueError`` unless it is ``Average`` over two members."""
        if not isinstance(objective, Average) or len(objective.members) != 2:
            raise ValueError(
                "LogitPairing needs Average over two members, got "
                f"{type(objective).__name__} over {len(objective.members)}"
            )

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the model's logits and the labels."""
        return model(batch.x), batch.y

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of the worse x' and the weighted divergence, a scalar in float32."""
        logits = model(batch.x).float()
        losses = F.cross_entropy(
            logits, batch.y, reduction="none", label_smoothing=self.label_smoothing
        )
        first, second = logits.view(2, -1, logits.shape[1])
        right = ~is_wrong(first, batch.y[: len(first)])
        apart = divergence(first.log_softmax(1), second)
        answered = fair_count(right.sum(), len(right))
        paired = (apart * right).sum() / answered
        return losses.view(2, -1).amax(0).mean() + self.weight * paired

    def smoothed(self, share: float) -> "LogitPairing":
        """Return the criterion with labels smoothed by ``share``; itself if they are already."""
        return self if self.label_smoothing else replace(self, label_smoothing=share)


@dataclass(frozen=True)
class RightChoice(Criterion):
    """Name a choice of the gate that is right for the image.

    The choices are the experts, unless the gate is an ``ExtendedGate`` (see ``Mixture.choices``),
    which can also be trained without its mixture. The loss is

        - log sum_j w_j(x')    over the choices j that are right, w = softmax of the scores.

    It does not matter how the weight is split among them.

    Args:
        right: for each member of the objective the indices of the choices that are right for it,
            such as the expert trained on it.

    Raises:
        TypeError: if the model is neither a mixture with a gate nor an ``ExtendedGate``.
        ValueError: if its gate has no such choice.
    """

    divisible: ClassVar[bool] = True

    right: tuple[tuple[int, ...], ...]

    @property
    def teaches_labels(self) -> bool:
        """False: the right answers are choices of the gate."""
        return False

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores of all choices (N, n), and which are right (N, n) of bool."""
        chooser = model if isinstance(model, ExtendedGate) else _mixture(model)
        scores = chooser.choices(batch.x)
        check_choices(self.right, scores.shape[1])
        return scores, _table(scores.device, self.right, scores.shape[1])[batch.member]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean over the batch of -log sum_j w_j, a scalar in float32."""
        scores, right = self.answers(model, batch)
        logs = scores.log_softmax(1)
        return -logs.masked_fill(~right, -torch.inf).logsumexp(1).mean()

    def hits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return where the choice with the largest weight is right and all scores are finite."""
        scores, right = self.answers(model, batch)
        chosen = right.gather(1, scores.argmax(1, keepdim=True))[:, 0]
        return chosen & scores.isfinite().all(1)


class ExpertForMember(RightChoice):
    """The supervised warm-up of a gate: name the expert for the perturbation; only the gate learns.

    Without it, a gate with random weights tends to settle on one expert before it can tell the
    perturbations apart.
    """

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the gate's parameters."""
        return list(_mixture(model).gate.parameters())


class NewExperts(RightChoice):
    """Name the expert that joined a mixture (``regrouped``), or "known" if none of them is right.

    Only the network h beside the old gate learns. It classifies perturbations; its classes are
    "known", with a score of 0, and every expert that joined:

        min  - log softmax(0, h(x'))_j    j = the expert for x', "known" if none of them is

    So the known experts keep their weights in the old proportion on every image, including attacked
    images that h was not trained on. A gate that learns as a whole, distilled from the old one on
    clean images and transforms, forgets what it does with attacked images.

    ``right`` is (0,) for a known perturbation, (1,) for that of the first expert that joined, and
    so on.
    """

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the parameters of the network beside the gate.

        Raises:
            TypeError: if no expert joined.
        """
        gate = model if isinstance(model, ExtendedGate) else _mixture(model).gate
        if not isinstance(gate, ExtendedGate):
            kind = with_article(type(gate).__name__)
            raise TypeError(f"no expert joined this mixture: its gate is {kind}")
        return list(gate.joined.parameters())


@lru_cache(maxsize=8)
def _table(device: torch.device, right: tuple[tuple[int, ...], ...], choices: int) -> Tensor:
    """Return which choices are right for each member, (members, choices).

    The table is cached, so that it is copied to the device only once.
    """
    rows = [[i in indices for i in range(choices)] for indices in right]
    return torch.tensor(rows, device=device)


def _mixture(model: nn.Module) -> Mixture:
    if not isinstance(model, Mixture):
        kind = with_article(type(model).__name__)
        raise TypeError(f"only a Mixture has a gate to warm up, got {kind}")
    return model
