"""TRADES: the right answer to x, and the same answer to x'."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from morex.attacks import SearchAround, divergence
from morex.training.criteria import Criterion
from morex.training.objectives import Batch, Objective


@dataclass(frozen=True)
class Trades(Criterion):
    """Name the class of the unchanged image, and answer x' as the image that it was made from.

        min  mean L(f(x), y)  +  beta * mean KL( p(x) || p(x') ),   p = softmax(f)

    (Zhang et al. 2019, "Theoretically Principled Trade-off between Robustness and Accuracy",
    equation 5.) The direction of the divergence is that of their code, and the gradient goes
    through both answers. Their x' maximises the divergence: ``AwayFromOwnAnswers``. x and x' are
    two batches for BatchNorm. (Their code calls the model on x twice, so that the running
    statistics count x twice.)

    Args:
        beta: the weight of the divergence, positive; 1 to 10 in the paper, 6 for robustness.
        label_smoothing: as for ``ClassOfImage``, in L.

    Raises:
        ValueError: if beta is not positive; in ``check``, if a member searches a composition.
    """

    divisible: ClassVar[bool] = True

    beta: float = 6.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the weight."""
        if not self.beta > 0:
            raise ValueError(f"beta of TRADES must be positive, got {self.beta}")

    @property
    def images(self) -> int:
        """Two: x and x'."""
        return 2

    def check(self, objective: Objective) -> None:
        """Raise ``ValueError`` if x' of a member has another centre than x."""
        if any(isinstance(member, SearchAround) for member in objective.members):
            raise ValueError(
                "TRADES compares x' with the unchanged image, and a composition searches around a "
                "transformed one; use a ball or the transform alone"
            )

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the model's logits for x' and the labels."""
        return model(batch.x), batch.y

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss, a scalar in float32.

        Raises:
            ValueError: if the batch does not have the images that x' was made from.
        """
        if batch.clean is None:
            raise ValueError("TRADES needs the unchanged images: the batch has clean=None")
        natural = model(batch.clean).float()
        apart = divergence(natural.log_softmax(1), model(batch.x)).mean()
        smoothing = self.label_smoothing
        return F.cross_entropy(natural, batch.y, label_smoothing=smoothing) + self.beta * apart

    def smoothed(self, share: float) -> "Trades":
        """Return the criterion with labels smoothed by ``share``; itself if they are already."""
        return self if self.label_smoothing else replace(self, label_smoothing=share)
