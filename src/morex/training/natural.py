"""Natural training beside an adversarial one, and the projection that joins them (RAMP).

Jiang & Singh, "RAMP: Boosting Adversarial Robustness Against Multiple lp Perturbations for
Universal Robustness", NeurIPS 2024, section 4.3. A copy of the model learns the unchanged images of
every batch. At the end of an epoch that began with weights w, the model and its copy have made the
updates g and n, and the model becomes, in each of its tensors,

    w + (1 - b) g + b max(0, cos(g, n)) n

Its copy goes on from there. The momentum of both goes on as well.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.training.config import TrainingConfig
from morex.training.optimizers import copy_tensors, learning_tensors, new_optimizer


class NaturalTraining:
    """A copy of a model that learns the class of unchanged images.

    Args:
        model: the model, before its training.
        parameters: those of its parameters that learn.
        config: the hyperparameters of both.
        captured: whether steps are captured, as for ``TrainingState``.

    Attributes:
        model: the copy.
        parameters: those of its parameters that learn.
        learning: these and its buffers, by the names that they have in the model.
        before: the same as they were at the beginning of the epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: list[nn.Parameter],
        config: TrainingConfig,
        *,
        captured: bool,
    ) -> None:
        chosen = {id(p) for p in parameters}
        learns = [id(p) in chosen for p in model.parameters()]
        self.model = copy.deepcopy(model)
        self.parameters = [p for p, it in zip(self.model.parameters(), learns, strict=True) if it]
        self.learning = learning_tensors(self.model, self.parameters)
        self.before = {name: t.detach().clone() for name, t in self.learning.items()}
        self.optimizer = new_optimizer(self.parameters, config, captured=captured)
        self._share, self._smoothing = config.gradient_projection, config.label_smoothing

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy of the copy on unchanged images, a scalar in float32."""
        self.model.train()
        return F.cross_entropy(self.model(x).float(), y, label_smoothing=self._smoothing)

    @torch.no_grad()
    def project(self, weights: dict[str, Tensor]) -> None:
        """End an epoch: join the updates of the model and of its copy, in place.

        Args:
            weights: those of the model, with the names of ``learning``.
        """
        for name, natural in self.learning.items():
            if natural.is_floating_point():
                joined = projected(self.before[name], weights[name], natural, self._share)
                weights[name].copy_(joined)
        copy_tensors(weights, self.learning)
        copy_tensors(weights, self.before)


def projected(before: Tensor, adversarial: Tensor, natural: Tensor, share: float) -> Tensor:
    """Return w + (1 - b) g + b max(0, cos(g, n)) n for g = adversarial - w and n = natural - w.

    Args:
        before: w, of any shape.
        adversarial, natural: what two trainings made of it.
        share: b, in [0, 1].
    """
    g, n = adversarial - before, natural - before
    cosine = F.cosine_similarity(g.flatten(), n.flatten(), dim=0)
    return before + (1 - share) * g + share * cosine.clamp(min=0) * n
