"""N-FGSM: a search of one step from a noisy image, for fast adversarial training.

    x' = P_z(z + step(grad_x L(f(z), y))),   z = clip(x + noise, 0, 1)

The noise is uniform in a ball of k times the radius, the step has the length eps (P_z projects on
ball and box around z: in l_1 the step of a search, ``Ball.search_step``, is longer), and x' is not
projected on the ball of x (de Jorge et al. 2022, "Make Some Noise", Algorithm 1; their network
searches in training mode, here in evaluation mode). So x' may be outside of the ball: train on it,
but never evaluate with it. One step costs one forward and one backward pass, where PGD-10 costs ten
of each. It may fail suddenly: in *catastrophic overfitting* a network learns to resist the step and
nothing else. So a training with it is validated with PGD.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes
from morex.attacks.freezing import Model
from morex.attacks.gradients import input_gradient
from morex.attacks.losses import CROSS_ENTROPY
from morex.attacks.pgd import PGD
from morex.core.number_checks import check_numbers
from morex.core.shards import drawn_for_all
from morex.perturbations import Ball


@dataclass(frozen=True)
class NoisyFGSM(Attack):
    """One step of length eps from a noisy image; only for training.

    Args:
        perturbation: the ball; the method was studied for Linf.
        noise: the radius k of the noise, in radii of the ball.

    Raises:
        ValueError: if ``noise`` is not positive, or the perturbation is no ball.
    """

    perturbation: Ball
    noise: float = 2.0

    def __post_init__(self) -> None:
        """Check ball and noise."""
        check_numbers(self)
        if not isinstance(self.perturbation, Ball):
            raise ValueError(f"NoisyFGSM takes a step in a ball, got {self.perturbation}")
        if not self.noise > 0:
            raise ValueError(f"NoisyFGSM needs noise > 0, got {self.noise}")

    @property
    def passes(self) -> Passes:
        """One forward and one backward pass."""
        return Passes(1, 1)

    @property
    def takes_single_step(self) -> bool:
        """True."""
        return True

    @property
    def judge(self) -> Attack:
        """PGD-10; ``JudgedBy`` puts another one beside it."""
        return PGD(self.perturbation, steps=10).by_loss()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images after the step, which may be outside of the ball of ``x``."""
        ball = self.perturbation
        with drawn_for_all(len(x)):
            start = ball.scaled(self.noise).random_start(x, generator)
        noisy = start.detach().requires_grad_()
        with torch.enable_grad():
            _, losses = CROSS_ENTROPY(model, noisy, y)
            gradient = input_gradient(losses.sum(), noisy)
        with torch.no_grad():
            return ball.project(noisy + ball.search_step(gradient, ball.eps, noisy), noisy)
