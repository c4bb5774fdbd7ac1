"""Adversarial weight perturbation (AWP): descend where the loss around the weights is largest.

    min_w  max_{v}  L(w + v),   ||v_l|| <= gamma ||w_l||  for every layer l

Wu et al. 2020, "Adversarial Weight Perturbation Helps Robust Generalization", section 4 and
Algorithm 1, with one step for v as in their experiments:

    v_l = gamma ||w_l|| g_l / ||g_l||,   g = grad_w L(w)
    w <- w - rate * grad L(w + v)

Only matrices and kernels are perturbed, no biases and no parameters of normalisations. The pass
that finds g leaves running statistics as they are; those of the step are of w + v, as in the
paper's code. (There, weight decay acts on w + v too; here it acts on w. After the step the weights
are copied back and not subtracted, so that rounding errors do not add up.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from morex.training.world import ALONE, World

_NOT_ZERO = 1e-20


class WeightPerturbation:
    """Perturbs the weights of one model again and again.

    Args:
        model: the model.
        parameters: those of its parameters that learn.
        gamma: the relative length of the perturbation, in each matrix or kernel.
        world: the processes over which the gradient is added up.

    Raises:
        ValueError: if no matrix and no kernel is among the parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[nn.Parameter],
        gamma: float,
        world: World = ALONE,
    ) -> None:
        self.weights: list[Tensor] = [p for p in parameters if p.ndim > 1]
        if not self.weights:
            raise ValueError(
                "no matrix or kernel learns, so there is nothing to perturb; unset awp"
            )
        self.buffers = [*model.buffers()]
        self.gamma, self.world = gamma, world

    @contextmanager
    def __call__(self, loss: Callable[[], Tensor]) -> Iterator[None]:
        """Move the weights to w + v inside a ``with`` block, and back to the same bits.

        Args:
            loss: the loss to increase, computed with the weights as they are.
        """
        gradients = self._gradients(loss)
        before = [weight.detach().clone() for weight in self.weights]
        with torch.no_grad():
            for weight, gradient in zip(self.weights, gradients, strict=True):
                if gradient is not None:
                    scale = self.gamma * weight.norm() / (gradient.norm() + _NOT_ZERO)
                    weight.add_(scale * gradient)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, before)

    def _gradients(self, loss: Callable[[], Tensor]) -> tuple[Tensor | None, ...]:
        """Return the gradient for every weight; None where the loss does not depend on it."""
        before = [buffer.clone() for buffer in self.buffers]
        gradients = torch.autograd.grad(loss(), self.weights, allow_unused=True)
        if before:
            with torch.no_grad():
                torch._foreach_copy_(self.buffers, before)
        self.world.add_up(gradients)
        return gradients
