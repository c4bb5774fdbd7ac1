"""Distillation: a network learns to answer like another model (Hinton et al. 2015)."""

from dataclasses import InitVar, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from morex.attacks import Freezer, divergence
from morex.core.checksums import digest_of_tensors
from morex.training.criteria import ClassOfImage, Criterion
from morex.training.objectives import Batch

_CLASS = ClassOfImage()


@dataclass(frozen=True)
class AnswersOfTeacher(Criterion):
    """Answer an image as the teacher does; the label only decides which weights are kept.

        min  KL( softmax(T(x')) || softmax(S(x')) )

    x' is what the objective makes of the images by attacking the student S. The teacher T answers
    the same x', clean or not. (RSLAD, Zi et al. 2021, has T(x) instead of T(x'). A mixture that
    resists is right about most x' that fool its student, and its answer to x' also says which
    perturbation x' shows.)

    Args:
        teacher: images to logits over the same classes, on the device of the training. It is left
            in evaluation mode, and nothing in it learns.

    Attributes:
        weights: a checksum of the teacher's weights.
    """

    divisible: ClassVar[bool] = True

    teacher: InitVar[nn.Module]
    weights: str = field(init=False)

    def __post_init__(self, teacher: nn.Module) -> None:
        """Keep the teacher out of the fields, which say what decides a training."""
        object.__setattr__(self, "weights", digest_of_tensors(teacher.state_dict().items()))
        object.__setattr__(self, "_teacher", teacher.eval())
        object.__setattr__(self, "_frozen", Freezer(teacher))

    @property
    def teaches_labels(self) -> bool:
        """False: the right answers are those of the teacher."""
        return False

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the student's logits and the labels."""
        return _CLASS.answers(model, batch)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean divergence from the teacher's answers, a scalar in float32."""
        frozen: Freezer = self._frozen  # type: ignore[attr-defined]
        with frozen(), torch.no_grad():
            right = self._teacher(batch.x).float().log_softmax(1)  # type: ignore[attr-defined]
        return divergence(right, model(batch.x)).mean()
