"""DeepFool: walk to the nearest decision boundary (Moosavi-Dezfooli et al. 2016).

    k* = argmin_k |f_k - f_y| / ||w_k||_*,   w_k = grad_x (f_k - f_y)
    r <- r + (|f_k* - f_y| / ||w_k*||_*) * argmax {<w_k*, d> : ||d|| <= 1}

||.||_* is the dual of the ball's norm. The walk ignores the radius. It ends where the model is
fooled, and counts as an attack at eps only if its end still fools after projection on the ball.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes, fooled, wide
from morex.attacks.freezing import Model
from morex.attacks.gradients import input_gradient, note_zeros
from morex.attacks.losses import most_likely_wrong
from morex.attacks.standing import Standing
from morex.core.number_checks import check_numbers
from morex.perturbations import L2, Ball, Linf

_NUDGE = 1e-4
"""Added to every step, in the ball's norm, so that a point on a boundary crosses it. As in the
authors' code."""


@dataclass(frozen=True)
class DeepFool(Attack):
    """DeepFool whose end is projected on the ball ("DeepFool at eps").

    Images that are already misclassified come back unchanged.

    Args:
        perturbation: an Linf or L2 ball.
        steps: at most this many linearisations per example; it stops once it is fooled.
        overshoot: the walk is ``1 + overshoot`` times as long as the linearisations ask for.
        candidates: number of classes whose boundaries are considered: the true class and the most
            likely others at x; None for all classes.

    Raises:
        ValueError: if the ball is of another norm or a number is out of its range.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Ball
    steps: int = 50
    overshoot: float = 0.02
    candidates: int | None = 10

    def __post_init__(self) -> None:
        """Check the ball and the budget."""
        check_numbers(self)
        if not isinstance(self.perturbation, Linf | L2):
            raise ValueError(f"DeepFool needs an Linf or L2 ball, got {self.perturbation}")
        few = self.candidates is not None and self.candidates < 2
        if self.steps < 1 or not 0 <= self.overshoot < float("inf") or few:
            raise ValueError(
                "DeepFool needs steps >= 1, a finite overshoot >= 0 and candidates >= 2 or None, "
                f"got {self.steps}, {self.overshoot}, {self.candidates}"
            )

    @property
    def passes(self) -> Passes:
        """At most two forward passes per step and one backward pass per rival class.

        With ``candidates=None`` the number of classes is unknown, and the bound is infinite.
        """
        rivals = float("inf") if self.candidates is None else self.candidates - 1
        return Passes(forward=1 + 2 * self.steps, backward=rivals * self.steps)

    @property
    def needs_float32(self) -> bool:
        """True: its walk ends near the boundary, where rounded answers lead it astray."""
        return True

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the end of the walk projected on the ball; nothing is random."""
        return self.perturbation.project(self.nearest(model, x, y), x)

    @torch.no_grad()
    def nearest(self, model: Model, x: Tensor, y: Tensor) -> Tensor:
        """Return the end of the walk in [0, 1], at any distance from x, (N, C, H, W).

        ``ball.norm(nearest - x)`` estimates an example's distance to the decision boundary. For a
        linear model and away from the box it is exactly ``(1 + overshoot) * (distance + 1e-4)``.

        Args:
            model: images to logits, already ``frozen``.
            x: images in [0, 1], (N, C, H, W).
            y: true labels, (N,), int64.
        """
        end = moved = x.clone()
        walked = torch.zeros_like(x, dtype=wide(x.dtype))
        logits, standing = model(x), Standing(x)
        rivals = self._rivals(logits, y)
        for step in range(self.steps):
            kept = standing.drop(fooled(logits, y), step)
            if kept is not None:
                x, y, rivals, walked, moved = (t[kept] for t in (x, y, rivals, walked, moved))
            if not len(x):
                break
            farther = walked + self._step(model, moved, y, rivals, standing)
            walked = standing.held(walked, farther)
            moved = (x + (1 + self.overshoot) * walked).clamp(0, 1).to(x.dtype)
            end[standing.rows] = moved
            logits = model(moved)
        return end

    def _rivals(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the most likely classes other than y: (N, K), (N,) -> (N, candidates - 1)."""
        count = min(self.candidates or logits.shape[1], logits.shape[1])
        return most_likely_wrong(logits, y, count - 1)

    def _step(
        self, model: Model, moved: Tensor, y: Tensor, rivals: Tensor, standing: Standing
    ) -> Tensor:
        """Return the shortest step to a linearised boundary, with one backward pass per rival."""
        ball, rows, counted = self.perturbation, standing.rows, standing.counted
        moved = moved.detach().requires_grad_()
        with torch.enable_grad():
            logits = model(moved)
            logits = logits.to(wide(logits.dtype))
            gains = (logits.gather(1, rivals) - logits.gather(1, y[:, None])).T
            totals = gains.sum(1).unbind()
        normal = torch.zeros_like(moved, dtype=wide(moved.dtype))
        nearest = normal.new_full((len(moved),), torch.finfo(normal.dtype).max)
        for k, gain in enumerate(gains.detach().nan_to_num()):
            last = k + 1 == len(totals)
            gradient = input_gradient(totals[k], moved, rows, counted, again=not last)
            slope = ball.dual_norm(gradient).nan_to_num()  # a sum of large numbers overflows
            distance = gain.abs() / slope.clamp(min=1e-8)
            closer = distance < nearest
            nearest = torch.where(closer, distance, nearest)
            normal = torch.where(closer.view(-1, 1, 1, 1), gradient, normal)
        note_zeros(normal, rows, counted)
        unit = ball.steepest_step(normal, 1.0, moved.detach())
        return (nearest + _NUDGE).view(-1, 1, 1, 1) * unit
