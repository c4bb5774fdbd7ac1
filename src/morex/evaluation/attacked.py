"""One batch of an evaluation: attacked in any precision, judged in float32.

A search may see the model in bfloat16, which is faster. What it finds counts only where the float32
model is wrong on the very image. An image that fools only the rounded model is attacked again in
float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from morex.attacks import Attack, Model, SearchAround, fooled
from morex.attacks.gradients import Watch, watched
from morex.attacks.standing import leaving_on
from morex.core.precision import autocast
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.evaluation.feasibility import check_feasible
from morex.evaluation.settings import SearchPrecision, Settings
from morex.evaluation.suite import Row


@dataclass(frozen=True)
class Answers:
    """Where a model is right, and where its answer is finite, (N,) of bool."""

    right: Tensor
    finite: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: Model, x: Tensor, y: Tensor) -> Self:
        """Ask for the answers to some images."""
        logits = model(x)
        return cls(~fooled(logits, y), logits.isfinite().all(1))

    @classmethod
    def on(cls, model: Model, data: ImageSet, batch_size: int) -> Self:
        """Ask for the answers to all images as they are."""
        every = torch.arange(len(data), device=data.device)
        parts = []
        for rows in torch.split(every, batch_size):
            filled = filled_up(rows, batch_size)
            answers = cls.of(model, data.pixels(filled), data.labels[filled])
            parts.append(answers.first(len(rows)))
        return cls(torch.cat([p.right for p in parts]), torch.cat([p.finite for p in parts]))

    def first(self, count: int) -> Self:
        """Return the first answers."""
        return type(self)(self.right[:count], self.finite[:count])

    def and_on(self, other: Self) -> Self:
        """Return where both are right, and both are finite."""
        return type(self)(self.right & other.right, self.finite & other.finite)

    def changed(self, rows: Tensor, other: Self) -> Self:
        """Return the same answers, but those of others at some rows."""
        right = self.right.index_copy(0, rows, other.right)
        return type(self)(right, self.finite.index_copy(0, rows, other.finite))


@dataclass(frozen=True)
class Attacked:
    """What is seen of an attacked batch.

    Attributes:
        answers: the answers of the float32 model to what the attack found.
        again: images that were attacked again in float32, (N,) of bool.
        not_finite: images on which a gradient was not finite, (N,) of bool.
        zero: images on which a gradient was zero before they were fooled, (N,) of bool.
    """

    answers: Answers
    again: Tensor
    not_finite: Tensor
    zero: Tensor


def attacked(
    model: Model, data: ImageSet, row: Row, rows: Tensor, settings: Settings, batch: int
) -> Attacked:
    """Attack the images ``rows`` and ask for the answers; the batch's number decides all draws."""
    count, filled = len(rows), filled_up(rows, settings.batch_size)
    x, y = data.pixels(filled), data.labels[filled]
    place = (settings.seed, "evaluation", row.name, batch)
    draw = partial(generator_for, *place, device=data.device)
    precision = settings.searched_in(row.attack)
    with watched(x) as watch:
        moved = row.attack(model, x, y, generator=draw(), precision=precision)
        # pixels are read again: the attack may have changed the images that it was given
        problem = _Problem.of(model, row, data.pixels(filled), y, draw)
        answers = problem.judged(moved)
        again = torch.zeros_like(answers.right)
        if precision != "fp32":
            again = answers.right & _fools(model, moved, y, precision)
            again[count:] = False
            anew = generator_for(*place, "float32", device=data.device)
            answers = problem.searched_on(answers, again, anew, settings.batch_size, watch)
    noted = (t[:count] for t in (again, watch.not_finite, watch.zero))
    return Attacked(answers.first(count), *noted)


def filled_up(rows: Tensor, most: int) -> Tensor:
    """Return rows of a batch, with some of them again to give it a size that was seen before.

    On a CPU nothing is added. On an accelerator each new size costs time (``leaving_on``).

    Args:
        rows: at least one index, (n,).
        most: the size of full batches.
    """
    size = leaving_on(rows.device).size(len(rows), most)
    return rows if size == len(rows) else rows.repeat(-(-size // len(rows)))[:size]


@torch.no_grad()
def _fools(model: Model, moved: Tensor, y: Tensor, precision: SearchPrecision) -> Tensor:
    """Return where the model is wrong in a number format, (N,) of bool."""
    with autocast(precision, moved.device):
        return fooled(model(moved), y)


@dataclass(frozen=True)
class _Problem:
    """What is to be found for a batch: images near ``centres`` that the model gets wrong.

    ``transformed`` says whether the centres are transformed images, as in a composition. They are
    in the ball too, so the model must be right about them as well.
    """

    model: Model
    name: str
    attack: Attack
    centres: Tensor
    y: Tensor
    transformed: bool

    @classmethod
    def of(
        cls, model: Model, row: Row, x: Tensor, y: Tensor, draw: Callable[[], torch.Generator]
    ) -> Self:
        """Return the problem of a row; a composition draws its centres as the attack drew them."""
        attack = row.attack
        if isinstance(attack, SearchAround):
            return cls(model, row.name, attack.attack, attack.centres(x, draw()), y, True)
        return cls(model, row.name, attack, x, y, False)

    def judged(self, moved: Tensor) -> Answers:
        """Check x' and return the model's answers to it."""
        check_feasible(self.attack.perturbation, self.centres, moved, self.name)
        answers = Answers.of(self.model, moved, self.y)
        if self.transformed:
            return answers.and_on(Answers.of(self.model, self.centres, self.y))
        return answers

    def searched_on(
        self, answers: Answers, again: Tensor, draws: torch.Generator, most: int, watch: Watch
    ) -> Answers:
        """Attack some images in float32, and return the answers to what is now found.

        Args:
            answers: those to what the search in bfloat16 found.
            again: the images to attack, (N,) of bool.
            draws: source of randomness.
            most: the size of full batches.
            watch: what is noted of the batch.
        """
        rows = torch.nonzero(again).flatten()
        if not len(rows):
            return answers
        filled = filled_up(rows, most)
        x, y = self.centres[filled], self.y[filled]
        with watched(x) as second:
            moved = self.attack(self.model, x, y, generator=draws)
        watch.also(rows, second)
        check_feasible(self.attack.perturbation, self.centres[filled], moved, self.name)
        found = Answers.of(self.model, moved, y)
        return answers.changed(rows, found.first(len(rows)))
