"""Projected gradient descent: the one PGD of morex, for balls, unions of balls, and parameters.

    x_0 drawn in the ball;  x_{k+1} = P(x_k + step(grad_x L(f(x_k), y)))

P projects on ball and box. ``step`` is the steepest step of the ball's norm (Madry et al. 2018), in
l_1 that of l_2 (``Ball.search_step``). Over several balls this is MSD (Maini et al. 2020,
Algorithm 1): each ball proposes a projected step, and every example takes the proposal with the
largest loss.

In a perturbation whose images are numbered by points of the box [-1, 1]^P, x_k = apply(x, p_k), it
ascends in p, with the steepest step of the box, the sign of the gradient (Kaufmann et al. 2019).
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes, fooled
from morex.attacks.best import Best, Goal, check_goal
from morex.attacks.freezing import Model
from morex.attacks.gradients import input_gradient, note_zeros
from morex.attacks.losses import CROSS_ENTROPY, SCALE_FREE, Loss, NotOfClasses, loss_of_rows
from morex.attacks.standing import Standing
from morex.core.number_checks import check_numbers
from morex.core.shards import drawn_for_all
from morex.perturbations import Ball, Parametric

Keep = Literal["best", "last"]
"""Which iterate a search returns."""


Searched = Ball | Parametric
"""What a search without a union looks through."""


@dataclass(frozen=True)
class PGD(Attack):
    """PGD in a ball; returns the best iterate for every example.

    All iterates of all restarts count, from the start to the last one. An iterate that fools the
    model is better than one that does not, and then the larger loss is better. With
    ``keep="last"`` PGD returns the last iterate without evaluating it (Madry et al. 2018). That
    saves a forward pass, which matters in training, where searches are short.

    Args:
        perturbation: the ball to search, or a perturbation with parameters, such as weather that
            an attacker chooses; a tuple of balls makes it MSD over their union.
        steps: gradient steps per restart.
        relative_step: the length of all steps of a restart together, in radii: each step has the
            length ``relative_step * eps / steps``. With 2.5 an iterate can cross the ball (Madry et
            al. 2018); in l_1, where the best images are sparse, 10 come closer to them. The box of
            parameters has a radius of 1.
        restarts: number of runs, each from a new start.
        random_start: start from a uniform draw in the ball; otherwise from x, or from the middle
            of the box.
        stop_when_fooled: end an example's search as soon as it is misclassified, and continue with
            the others; for evaluation, where only the decision counts.
        loss: what to maximise; the cross-entropy by default, of scaled logits where their scale
            would blind the search (``scale_free_cross_entropy``).
        keep: the iterate to return, the ``best`` of all or the ``last``.
        goal: what makes an iterate the best; ``loss`` is for training.

    Raises:
        ValueError: if a number is out of its range, the perturbation has no parameters and is not
            made of balls, or ``keep="last"`` is combined with several restarts or with stopping
            early.
    """

    perturbation: Searched | tuple[Ball, ...]
    steps: int = 20
    relative_step: float = 2.5
    restarts: int = 1
    random_start: bool = True
    stop_when_fooled: bool = False
    loss: Loss = SCALE_FREE
    keep: Keep = "best"
    goal: Goal = "fool"

    def __post_init__(self) -> None:
        """Check the budget."""
        check_numbers(self)
        of_balls = self.balls and all(isinstance(ball, Ball) for ball in self.balls)
        if not of_balls and not isinstance(self.perturbation, Parametric):
            raise ValueError(
                "PGD searches balls, or a perturbation with parameters such as adversarial-fog, "
                f"got {self.perturbation}"
            )
        parametric = self.perturbation if isinstance(self.perturbation, Parametric) else None
        if parametric and not (self.random_start or parametric.has_middle):
            raise ValueError(
                f"{parametric} has no middle to start from, because nothing happens there; use "
                "random_start=True"
            )
        if self.steps < 1 or self.restarts < 1 or self.relative_step <= 0:
            raise ValueError(
                "PGD needs steps >= 1, restarts >= 1 and relative_step > 0, got "
                f"{self.steps}, {self.restarts} and {self.relative_step}"
            )
        if self.keep not in get_args(Keep):
            raise ValueError(f"keep: expected {' or '.join(get_args(Keep))}, got {self.keep!r}")
        check_goal(self.goal)
        if self.keep == "last" and (self.restarts > 1 or self.stop_when_fooled):
            raise ValueError(
                'keep="last" needs restarts=1 and stop_when_fooled=False, got '
                f'{self.restarts} and {self.stop_when_fooled}; use keep="best"'
            )

    @property
    def balls(self) -> tuple[Ball, ...]:
        """The members of the union; one for plain PGD, and none for parameters."""
        if isinstance(self.perturbation, tuple):
            return self.perturbation
        return (self.perturbation,) if isinstance(self.perturbation, Ball) else ()

    @property
    def passes(self) -> Passes:
        """One forward and backward pass per step, and a forward pass for the last iterate.

        MSD also evaluates every ball's proposal.
        """
        proposals = len(self.balls) if len(self.balls) > 1 else 0
        step = Passes(1 + proposals, 1)
        seen = Passes(forward=0 if self.keep == "last" else 1)
        return (step * self.steps + seen) * self.restarts

    @property
    def takes_single_step(self) -> bool:
        """Whether there is one step (in each restart)."""
        return self.steps == 1

    @property
    def judge(self) -> "PGD":
        """Itself; PGD-10 for a single step, to which a training may overfit."""
        return replace(self, steps=10, relative_step=2.5) if self.takes_single_step else self

    def by_loss(self) -> "PGD":
        """Return the whole search for the largest loss, by default of the plain cross-entropy."""
        loss = CROSS_ENTROPY if self.loss == SCALE_FREE else self.loss
        return replace(self, goal="loss", loss=loss, stop_when_fooled=False)

    @property
    def _judges(self) -> bool:
        """Whether it matters which iterates fool the model."""
        of_classes = not isinstance(self.loss, NotOfClasses)
        return of_classes and (self.stop_when_fooled or self.goal == "fool")

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return for each example the best iterate of all restarts, or the last one."""
        return self._search(model, x, y, None, generator)

    def go_on(
        self, model: Model, x: Tensor, y: Tensor, moved: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Search balls once, starting from the images ``moved``."""
        return replace(self, restarts=1)._search(model, x, y, moved, generator)

    def _search(
        self, model: Model, x: Tensor, y: Tensor, start: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        best = None if self.keep == "last" else Best(x)
        for _ in range(self.restarts):
            last = self._ascend(model, x, y, start, best, generator)
        return best.x if best else last

    def _ascend(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        start: Tensor | None,
        best: Best | None,
        generator: torch.Generator,
    ) -> Tensor:
        """Do one restart on the examples that are not fooled yet; return their last iterates.

        ``best`` keeps the best of all iterates, unless it is None.
        """
        stops = best is not None and self.stop_when_fooled
        standing = Standing(x, best.fallen if best and stops and best.seen else None)
        x, y, loss = x[standing.rows], y[standing.rows], loss_of_rows(self.loss, standing.rows)
        if not len(x):
            return x
        with drawn_for_all(len(x)):
            at = self._start(x, generator) if start is None else start[standing.rows]
        if best and stops and self.balls:
            at = standing.held(best.x[standing.rows], at)
        for step in range(self.steps):
            moved, fallen, score, gradient = self._look(loss, model, x, y, at, standing)
            if best:
                best.update(standing.rows, moved, fallen, score)
            if stops and fallen is not None:
                kept = standing.drop(fallen, step)
                if kept is not None:
                    x, y, at, gradient = (t[kept] for t in (x, y, at, gradient))
                    loss = loss_of_rows(loss, kept)
                if not len(x):
                    return x
            at = standing.held(at, self._step(loss, model, x, y, at, gradient))
        with torch.no_grad():
            moved = self._images(x, at)
            if best:
                logits, score = loss(model, moved, y)
                best.update(standing.rows, moved, self._fallen(logits, y), score)
        return moved

    def _images(self, x: Tensor, at: Tensor) -> Tensor:
        """Return the images at the places of a search: these themselves, in balls."""
        if isinstance(self.perturbation, tuple | Ball):
            return at
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            return self.perturbation.apply(wide, at).to(x.dtype)

    def _fallen(self, logits: Tensor, y: Tensor) -> Tensor | None:
        """Return where the model is fooled, or None where only the loss matters."""
        return fooled(logits, y) if self._judges else None

    def _look(
        self, loss: Loss, model: Model, x: Tensor, y: Tensor, at: Tensor, standing: Standing
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Return the images, where they fool the model, the loss, and its gradient in ``at``."""
        at = at.detach().requires_grad_()
        with torch.enable_grad():
            moved = self._images(x, at)
            logits, value = loss(model, moved, y)
            gradient = input_gradient(value.sum(), at, standing.rows, standing.counted)
        fallen = self._fallen(logits.detach(), y)
        if fallen is not None:
            note_zeros(gradient, standing.rows, standing.also(~fallen))
        return moved, fallen, value.detach(), gradient

    def _start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if isinstance(self.perturbation, Parametric):
            point = self.perturbation.random_point(x, generator)
            return point if self.random_start else torch.zeros_like(point)
        if not self.random_start:
            return x
        starts = [ball.random_start(x, generator) for ball in self.balls]
        if len(starts) == 1:
            return starts[0]
        drawn = torch.randint(len(starts), (len(x),), device=x.device, generator=generator)
        return _take(starts, drawn)

    def _step(
        self, loss: Loss, model: Model, x: Tensor, y: Tensor, moved: Tensor, gradient: Tensor
    ) -> Tensor:
        """Take a step; of those of several balls, the one that fools or has the largest loss."""
        if not self.balls:
            return (moved + gradient.sign() * (self.relative_step / self.steps)).clamp(-1, 1)
        steps = [
            ball.project(
                moved
                + ball.search_step(gradient, self.relative_step * ball.eps / self.steps, moved),
                x,
            )
            for ball in self.balls
        ]
        if len(steps) == 1:
            return steps[0]
        with torch.no_grad():
            seen = [loss(model, step, y) for step in steps]
        losses = torch.stack([value for _, value in seen])
        if self._judges:
            fallen = torch.stack([fooled(logits, y) for logits, _ in seen])
            losses = losses.masked_fill(fallen.any(0) & ~fallen, -torch.inf)
        return _take(steps, losses.argmax(0))


def _take(candidates: list[Tensor], which: Tensor) -> Tensor:
    """Return candidates[which[n]][n] for every example n."""
    return torch.stack(candidates)[which, torch.arange(len(which), device=which.device)]
