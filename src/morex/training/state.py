"""The state of a training: everything that changes in it, saved and restored bit for bit."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from morex.training.config import TrainingConfig
from morex.training.ema import MovingAverage
from morex.training.natural import NaturalTraining
from morex.training.optimizers import (
    copy_tensors,
    learning_tensors,
    like,
    new_optimizer,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)


@dataclass(frozen=True)
class Snapshot:
    """The state of a training between two steps: tensors, and JSON values.

    The tensors belong to the training, which changes them: copy what must outlast ``save``.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``name/``, by the rest of their names."""
        paths = (path.partition("/") for path in self.tensors)
        return {rest: self.tensors[f"{name}/{rest}"] for head, _, rest in paths if head == name}


class Checkpoint(Protocol):
    """A place where a training keeps its state."""

    def load(self) -> Snapshot | None:
        """Return the last state that was saved, or None."""

    def due(self) -> bool:
        """Return whether it is time to save again."""

    def save(self, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` in place of the last one."""


class TrainingState:
    """Everything that changes while a model is trained.

    Args:
        model: the model, which is trained in place.
        parameters: those of its parameters that learn.
        config: the hyperparameters.
        captured: whether steps are captured, so that the numbers that change from step to step are
            tensors: a graph would repeat a number.
        tallied: the number of members whose errors are counted.

    Attributes:
        natural: the natural training beside this one, if its updates are projected.
        tally: for each member the wrong answers and all answers so far, (2, tallied).
        errors: the share of wrong answers by which members are drawn; empty before it is known.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: list[nn.Parameter],
        config: TrainingConfig,
        *,
        captured: bool = False,
        tallied: int = 0,
    ) -> None:
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.parameters = parameters
        self.optimizer = new_optimizer(parameters, config, captured=captured)
        self.learning = learning_tensors(model, parameters)
        device = parameters[0].device
        weight = torch.zeros((), device=device) if captured else 0.0
        decay = config.average
        self.average = MovingAverage(self.learning, decay, weight) if decay else None
        self.natural = (
            NaturalTraining(model, parameters, config, captured=captured)
            if config.gradient_projection
            else None
        )
        self.tally = torch.zeros(2, tallied, dtype=torch.int64, device=device)
        self._nothing = self.tally[:, :0]
        self.errors: tuple[float, ...] = ()
        self.best: dict[str, Tensor] = {}
        self.best_score = -math.inf
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._first_bad = torch.full((), -1, device=device)
        self._now = torch.zeros_like(self._first_bad)
        self._seconds_before = 0.0
        self._started = time.monotonic()  # after torch has loaded what a first optimizer needs

    def begin_step(self, learning_rate: float) -> None:
        """Set the numbers that change from step to step, on the host."""
        self._now.fill_(self.step)
        set_learning_rate(self.optimizer, learning_rate)
        if self.natural:
            set_learning_rate(self.natural.optimizer, learning_rate)
        if self.average:
            self.average.begin_update()

    def end_step(self, loss: Tensor, counts: Tensor) -> None:
        """Update the average of the weights, and add up the loss and the ``counts`` of a batch.

        The first loss that is not finite is remembered, without waiting for the device.
        """
        if counts.numel():
            self.tally += counts
        if self.average:
            self.average.update()
        self.loss_sum += loss
        bad = ~loss.isfinite() & (self._first_bad < 0)
        self._first_bad.copy_(torch.where(bad, self._now, self._first_bad))

    def counts(self, member: Tensor, wrong: Tensor | None) -> Tensor:
        """Return what a batch adds to the tally.

        Args:
            member: the member of each image.
            wrong: where the model is wrong; None if it is not counted.
        """
        if wrong is None:
            return self._nothing
        counts = torch.zeros_like(self.tally)
        counts[0].index_add_(0, member, wrong.long())
        counts[1].index_add_(0, member, torch.ones_like(member))
        return counts

    def measure_errors(self) -> None:
        """Set ``errors`` from the tally, once every member is in it; this asks the device."""
        wrong, seen = self.tally.tolist()
        if all(seen):
            self.errors = tuple(w / s for w, s in zip(wrong, seen, strict=True))

    def end_epoch(self) -> None:
        """Join the updates of the epoch with those of natural training, if there is one."""
        if self.natural:
            self.natural.project(self.learning)

    def not_finite(self) -> tuple[str, int] | None:
        """Return what is infinite or NaN, and since which step; None if all is finite."""
        if (step := int(self._first_bad)) >= 0:
            return "loss", step
        if not _all_finite(self.learning):  # a finite loss may have an infinite gradient
            return "weights after the update", self.step - 1
        if self.natural and not _all_finite(self.natural.learning):
            return "weights of the natural training", self.step - 1
        return None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the model its averaged weights inside a ``with`` block, if there are any."""
        if self.average:
            with self.average.applied():
                yield
        else:
            yield

    def keep_if_best(self, score: float) -> None:
        """Keep the weights unless earlier ones had a larger score; ties go to the later ones."""
        if score >= self.best_score:
            self.best_score = score
            self.keep()

    def keep(self) -> None:
        """Keep a copy of the current weights, which ``return_best`` restores."""
        self.best = {name: t.detach().clone() for name, t in self.learning.items()}

    def return_best(self) -> None:
        """Give the model the weights that were kept."""
        copy_tensors(self.best, self.learning)

    def elapsed(self) -> float:
        """Return the seconds spent so far, including those before an interruption."""
        return self._seconds_before + time.monotonic() - self._started

    def changing(self) -> dict[str, Tensor]:
        """Return all tensors that a step changes in place, by name."""
        tensors = {f"model/{name}": t for name, t in self.learning.items()}
        if self.average:
            tensors |= {f"average/{name}": t for name, t in self.average.shadow.items()}
        tensors |= {"loss_sum": self.loss_sum, "first_bad": self._first_bad, "tally": self.tally}
        return tensors | optimizer_tensors(self.optimizer) | self._natural_tensors()

    def snapshot(self) -> Snapshot:
        """Return everything that the rest of the training depends on."""
        tensors = {f"model/{name}": t for name, t in self.learning.items()}
        tensors |= {f"best/{name}": t for name, t in self.best.items()}
        tensors["loss_sum"] = self.loss_sum
        if self.average:
            tensors |= {f"average/{name}": t for name, t in self.average.shadow.items()}
        tensors |= optimizer_tensors(self.optimizer) | self._natural_tensors()
        if self.tally.numel():
            tensors["tally"] = self.tally
        if self.natural:
            tensors |= {f"before/{name}": t for name, t in self.natural.before.items()}
        values = {
            "step": self.step,
            "history": [*self.history],
            "best_score": self.best_score if math.isfinite(self.best_score) else None,
            "average_updates": self.average.updates if self.average else 0,
            "seconds": self.elapsed(),
            **({"errors": [*self.errors]} if self.tally.numel() else {}),
        }
        return Snapshot(tensors, values)

    def _natural_tensors(self) -> dict[str, Tensor]:
        """Return what a step changes of a natural training, by name."""
        if not self.natural:
            return {}
        tensors = {f"natural/{name}": t for name, t in self.natural.learning.items()}
        return tensors | optimizer_tensors(self.natural.optimizer, "natural_optimizer")

    def restore(self, saved: Snapshot) -> None:
        """Go back to the state of a snapshot."""
        copy_tensors(saved.part("model"), self.learning)
        restore_optimizer(self.optimizer, saved.part("optimizer"))
        self.loss_sum.copy_(saved.tensors["loss_sum"])
        if self.average:
            copy_tensors(saved.part("average"), self.average.shadow)
            self.average.updates = saved.values["average_updates"]
        if self.natural:
            copy_tensors(saved.part("natural"), self.natural.learning)
            copy_tensors(saved.part("before"), self.natural.before)
            restore_optimizer(self.natural.optimizer, saved.part("natural_optimizer"))
        if self.tally.numel():
            self.tally.copy_(saved.tensors["tally"])
            self.errors = tuple(saved.values["errors"])
        self.best = {
            name: like(t, self.learning[name].detach()) for name, t in saved.part("best").items()
        }
        best_score = saved.values["best_score"]
        self.best_score = -math.inf if best_score is None else best_score
        self.step, self.history = saved.values["step"], [*saved.values["history"]]
        self._seconds_before, self._started = saved.values["seconds"], time.monotonic()


def _all_finite(tensors: Mapping[str, Tensor]) -> bool:
    return bool(torch.stack([t.isfinite().all() for t in tensors.values()]).all())
