"""APGD: PGD with momentum whose steps get shorter where they no longer help (Croce & Hein 2020).

    z = P(x_k + s_k step(g));  x_{k+1} = P(x_k + a (z - x_k) + (1 - a)(x_k - x_{k-1})),  a = 3/4

At some steps, farther apart at first, an example whose loss rose too rarely since the one before
goes back to its best iterate, and its step is halved. The schedule is that of AutoAttack. Unlike
there, an example leaves the search as soon as it is fooled, few classes are enough, and a search
starts at a uniform draw in the ball (there, at a draw that is stretched to its edge). The first
check counts whether the first step raised the loss; in AutoAttack's code it always counts as a rise
of the cross-entropy, and never as one of the targeted loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes, check_logits, fooled
from morex.attacks.freezing import Model
from morex.attacks.gradients import input_gradient, note_zeros
from morex.attacks.losses import SCALE_FREE, Loss, loss_of_rows, most_likely_wrong
from morex.attacks.sequence import Search, first_that_fools
from morex.attacks.standing import Standing
from morex.attacks.targeted import TowardsTargets
from morex.core.number_checks import check_numbers
from morex.core.shards import drawn_for_all
from morex.perturbations import L2, Ball, Linf

_MOMENTUM = 0.25
_RISES = 0.75
"""Share of the steps between two checks in which the loss must rise."""


@dataclass(frozen=True)
class APGD(Attack):
    """APGD on the cross-entropy, then towards the most likely wrong classes, one after the other.

    With the defaults that is what AutoAttack does as ``apgd-ce`` and ``apgd-t``.

    Args:
        perturbation: an Linf or L2 ball.
        steps: of every run.
        restarts: runs on the cross-entropy.
        targets: the number of target classes; a model of K classes has at most K - 1.

    Raises:
        ValueError: if the ball is of another norm, or a number is out of its range.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Ball
    steps: int = 100
    restarts: int = 1
    targets: int = 9

    def __post_init__(self) -> None:
        """Check ball and budget."""
        check_numbers(self)
        if not isinstance(self.perturbation, Linf | L2):
            raise ValueError(f"APGD needs an Linf or L2 ball, got {self.perturbation}")
        if self.steps < 1 or min(self.restarts, self.targets) < 0 or not any(self._runs):
            raise ValueError(
                "APGD needs steps >= 1, and restarts or targets above 0, got "
                f"{self.steps}, {self.restarts} and {self.targets}"
            )

    @property
    def _runs(self) -> tuple[int, int]:
        return self.restarts, self.targets

    @property
    def passes(self) -> Passes:
        """One forward and backward pass per step, one more per run, and a decision after each."""
        run = Passes(self.steps + 2, self.steps + 1)
        return run * sum(self._runs) + Passes(forward=1)

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first fooling image, or the best one of its last run."""
        if not len(x):
            return x
        with torch.no_grad():
            logits = model(x[:1])
        check_logits(logits, y[:1])
        classes = logits.shape[1]
        return first_that_fools(model, x, y, self._searches(model, classes, generator))

    def _searches(self, model: Model, classes: int, generator: torch.Generator) -> Iterator[Search]:
        for _ in range(self.restarts):
            yield partial(self._run, model, 0, generator)
        for rank in range(1, min(self.targets, classes - 1) + 1):
            yield partial(self._run, model, rank, generator)

    def _run(
        self, model: Model, rank: int, generator: torch.Generator, x: Tensor, y: Tensor
    ) -> Tensor:
        """Run once, towards the rank-th most likely wrong class; 0 stands for the cross-entropy."""
        loss = SCALE_FREE
        if rank:
            with torch.no_grad():
                targets = most_likely_wrong(model(x), y, rank)[:, -1]
            loss = TowardsTargets(targets, scaled=True)
        found, standing = x.clone(), Standing(x)
        with drawn_for_all(len(x)):
            at = self.perturbation.random_start(x, generator)
        state = _State.start(x, at, 2 * self.perturbation.eps)
        checks = _checks(self.steps)
        for step in range(self.steps + 1):
            fallen = _look(loss, model, state, y, standing)
            standing.put(found, fallen, state.at)
            kept = standing.drop(fallen, step)
            if kept is not None:
                state, y, loss = state.rows(kept), y[kept], loss_of_rows(loss, kept)
            if not len(y) or step == self.steps:
                break
            if step in checks:
                state.check(checks[step])
            state.move(self.perturbation, momentum=_MOMENTUM if step else 0)
        standing.put(found, torch.ones_like(standing.rows, dtype=torch.bool), state.best)
        return found


@dataclass
class _State:
    """Where the examples of a run are.

    Attributes:
        x: the centres of the balls, (n, C, H, W).
        at, before: the iterate and the one before it.
        gradient: at the iterate.
        best, best_gradient: the iterate with the largest loss, and the gradient there.
        size: of the steps, (n, 1, 1, 1).
        loss, best_loss: at the iterate, and the largest, (n,).
        checked_loss: the largest loss at the last check.
        rises: how often the loss rose since then, (n,).
        shortened: where the last check shortened the step, (n,) of bool.
    """

    x: Tensor
    at: Tensor
    before: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    size: Tensor
    loss: Tensor
    best_loss: Tensor
    checked_loss: Tensor
    rises: Tensor
    shortened: Tensor

    @classmethod
    def start(cls, x: Tensor, at: Tensor, size: float) -> Self:
        """Return the state before the first look."""
        lowest = x.new_full(x.shape[:1], -torch.inf, dtype=torch.float32)
        zero, none = torch.zeros_like(lowest), torch.zeros_like(at)
        sizes = torch.full_like(x[:, :1, :1, :1], size)
        yes = torch.ones_like(lowest, dtype=torch.bool)
        return cls(x, at, at, none, at, none, sizes, lowest, lowest, lowest, zero - 1, yes)

    def rows(self, kept: Tensor) -> "_State":
        """Return the state of some examples, by their positions."""
        return _State(*(t[kept] for t in vars(self).values()))

    def see(self, loss: Tensor, gradient: Tensor) -> None:
        """Note loss and gradient at the iterate; the first look counts as no rise."""
        self.rises = self.rises + (loss > self.loss).float()
        self.loss, self.gradient = loss, gradient
        better = loss > self.best_loss
        self.best_loss = torch.where(better, loss, self.best_loss)
        wide = better.view(-1, 1, 1, 1)
        self.best = torch.where(wide, self.at, self.best)
        self.best_gradient = torch.where(wide, gradient, self.best_gradient)

    def check(self, steps: int) -> None:
        """Halve the steps of examples that made too little of the last ``steps``, and go back."""
        stuck = ~self.shortened & (self.checked_loss >= self.best_loss)
        self.shortened = (self.rises <= _RISES * steps) | stuck
        self.checked_loss, self.rises = self.best_loss, torch.zeros_like(self.rises)
        wide = self.shortened.view(-1, 1, 1, 1)
        self.size = torch.where(wide, self.size / 2, self.size)
        self.at = torch.where(wide, self.best, self.at)
        self.gradient = torch.where(wide, self.best_gradient, self.gradient)

    def move(self, ball: Ball, momentum: float) -> None:
        """Take one step."""
        towards = self.size * ball.steepest_step(self.gradient, 1.0, self.at)
        z = ball.project(self.at + towards, self.x)
        moved = self.at + (1 - momentum) * (z - self.at) + momentum * (self.at - self.before)
        self.before, self.at = self.at, ball.project(moved, self.x)


def _look(loss: Loss, model: Model, state: _State, y: Tensor, standing: Standing) -> Tensor:
    """Note loss and gradient at the iterate; return where the model is fooled, (n,) of bool."""
    at = state.at.detach().requires_grad_()
    with torch.enable_grad():
        logits, value = loss(model, at, y)
        gradient = input_gradient(value.sum(), at, standing.rows, standing.counted)
    fallen = fooled(logits.detach(), y)
    note_zeros(gradient, standing.rows, standing.also(~fallen))
    state.see(value.detach().float(), gradient)
    return fallen


def _checks(steps: int) -> dict[int, int]:
    """Return the steps after which step lengths are checked, and how many each check covers."""
    apart, least = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
    checks, step = dict[int, int](), 0
    while (step := step + apart) < steps:
        checks[step] = apart
        apart = max(apart - max(int(0.03 * steps), 1), least)
    return checks
