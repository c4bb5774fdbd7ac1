"""A search for images that a model answers unlike the unchanged ones, as TRADES needs them.

    maximise  KL( p(x) || p(x') )  over x' in a ball,   p = softmax(f)

Labels have no part in it. The divergence has its minimum at x, where its gradient is zero, so the
search starts beside it, as in the code of Zhang et al. 2019 ("Theoretically Principled Trade-off
between Robustness and Accuracy", equation 5 and Algorithm 1):

    x_0 = P(x + 0.001 n),   n ~ N(0, I)

A search of parameters, such as those of weather, starts as PGD does.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from morex.attacks.base import Attack, Passes
from morex.attacks.freezing import Model
from morex.attacks.losses import PerExample
from morex.attacks.pgd import PGD
from morex.core.shards import drawn_for_all
from morex.perturbations import Perturbation

_BESIDE = 0.001
"""The standard deviation of the noise with which the search starts."""


def divergence(answers: Tensor, logits: Tensor) -> Tensor:
    """Return KL( p || softmax(logits) ) per example, computed in float32.

    Args:
        answers: log p, (N, K).
        logits: (N, K).

    Returns:
        (N,), in nats.
    """
    found = logits.float().log_softmax(1)
    return F.kl_div(found, answers, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True)
class AwayFromOwnAnswers(Attack):
    """PGD on the divergence from the model's own answers to the unchanged images.

    The accuracy of a training with it is judged by plain PGD of the same budget.

    Args:
        pgd: what is searched, and the budget; its loss is replaced, and its start in balls.

    Raises:
        ValueError: if there are several restarts.
    """

    pgd: PGD

    def __post_init__(self) -> None:
        """Check the restarts."""
        if self.pgd.restarts > 1:
            raise ValueError(
                f"AwayFromOwnAnswers starts once, beside x; got {self.pgd.restarts} restarts"
            )

    @property
    def perturbation(self) -> Perturbation | tuple[Perturbation, ...]:  # type: ignore[override]
        """What is searched."""
        return self.pgd.perturbation

    @property
    def passes(self) -> Passes:
        """Those of PGD, and a forward pass for the answers."""
        return self.pgd.passes + Passes(forward=1)

    @property
    def takes_single_step(self) -> bool:
        """Whether the PGD does."""
        return self.pgd.takes_single_step

    @property
    def judge(self) -> Attack:
        """Plain PGD."""
        return self.pgd.judge.by_loss()

    def by_loss(self) -> Attack:
        """Return the same search for the largest divergence, wherever the model is wrong."""
        return replace(self, pgd=self.pgd.by_loss())

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images with the largest divergence found, or the last ones."""
        with torch.no_grad():
            answers = model(x).float().log_softmax(1)
        pgd = replace(self.pgd, loss=_FromAnswers(answers))
        if not pgd.balls:
            return pgd.search(model, x, y, generator)
        with drawn_for_all(len(x)):
            noise = torch.empty_like(x).normal_(generator=generator)
        start = pgd.balls[0].project(x + _BESIDE * noise, x)
        return pgd.go_on(model, x, y, start, generator)


class _FromAnswers(PerExample):
    """The divergence from given answers.

    Args:
        answers: their log-probabilities, (N, K).
    """

    def __init__(self, answers: Tensor) -> None:
        self.answers = answers

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the divergence."""
        logits = model(x)
        return logits, divergence(self.answers, logits)

    def rows(self, rows: Tensor) -> PerExample:
        """Return the loss of some examples."""
        return _FromAnswers(self.answers[rows])
