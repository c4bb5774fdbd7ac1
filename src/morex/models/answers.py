"""What the experts and the gate of a model answer, each by itself."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from morex.artifacts.class_words import NOT_ASKED, NOT_FINITE
from morex.models.mixture import Ensemble, Mixture
from morex.models.routing import logits_of_asked


@dataclass(frozen=True)
class ExpertAnswers:
    """The answers of m experts for N images; m is 0 for a single network.

    Attributes:
        names: the names of the experts.
        classes: the class that each expert predicts, (N, m); ``NOT_FINITE`` where there is none,
            ``NOT_ASKED`` where a sparse mixture did not ask.
        weights: the gate's weights, (N, m); None for a model without a gate.
    """

    names: tuple[str, ...]
    classes: Tensor
    weights: Tensor | None


def predicted(logits: Tensor) -> Tensor:
    """Return the class with the largest logit: (..., K) -> (...).

    It is ``NOT_FINITE`` where a logit is not finite.
    """
    return logits.argmax(-1).masked_fill(~logits.isfinite().all(-1), NOT_FINITE)


@torch.no_grad()
def expert_answers(model: nn.Module, x: Tensor) -> ExpertAnswers:
    """Return what the experts of a model predict for images (N, C, H, W) in [0, 1]."""
    if not isinstance(model, Ensemble):
        return ExpertAnswers((), x.new_zeros(len(x), 0), None)
    weights = model.gate_weights(x) if isinstance(model, Mixture) else None
    return ExpertAnswers(model.expert_names, predicted(model.expert_logits(x)), weights)


@torch.no_grad()
def logits_and_answers(model: nn.Module, x: Tensor) -> tuple[Tensor, ExpertAnswers]:
    """Return the logits of a model for images, (N, K), and what its experts predict.

    The logits are those of the model to the last bit. Each network of a mixture is asked at most
    once.
    """
    if not isinstance(model, Mixture):
        return model(x), expert_answers(model, x)
    scores = model.scores(x)
    weights = torch.softmax(scores, dim=1)
    if model.routing is None:
        answers = model.expert_logits(x)
        logits = model.combined(scores, answers.float())
        return logits, ExpertAnswers(model.expert_names, predicted(answers), weights)
    asked = model.routing.asked(weights)
    answers = logits_of_asked([*model.experts], x, asked, model.classes)
    logits = model.combined(scores, answers, asked)
    classes = predicted(answers).masked_fill(~asked, NOT_ASKED)
    return logits, ExpertAnswers(model.expert_names, classes, weights)
