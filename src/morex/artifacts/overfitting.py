"""Catastrophic overfitting of a training with single steps, found in its history.

Such a training may fail within an epoch: the network resists the single step that it is trained on
and nothing else (Wong et al. 2020, section 5.4). Its accuracy under PGD falls, and that under the
single step does not.
"""

from collections.abc import Sequence

from morex.artifacts.records import Epoch
from morex.core.units import percent

_FALL = 0.1
"""How far the accuracy under PGD falls below its best for an alarm."""


def overfitted(history: Sequence[Epoch]) -> str:
    """Return a sentence about the first epoch of catastrophic overfitting; empty if there is none.

    An epoch is one if, for some member of the objective, the accuracy under PGD is 10 points below
    that of the epoch with the best one so far, and the accuracy under the single step is not lower
    than in that epoch.
    """
    judged = [epoch for epoch in history if epoch.single_step]
    for number, epoch in enumerate(judged):
        for member, pgd in enumerate(epoch.validation):
            best = max(judged[: number + 1], key=lambda e, m=member: e.validation[m])  # type: ignore[misc]
            fell = pgd < best.validation[member] - _FALL
            if fell and epoch.single_step[member] >= best.single_step[member]:
                alone = (percent(best.single_step[member]), percent(epoch.single_step[member]))
                return (
                    f"catastrophic overfitting in epoch {epoch.epoch}: the accuracy on validation "
                    f"images under PGD fell from {percent(best.validation[member])} to "
                    f"{percent(pgd)}, and under the single step of the training {_rose(*alone)}; "
                    "the weights with the best accuracy under PGD are kept. Use more noise, a "
                    "smaller learning rate, or PGD with several steps"
                )
    return ""


def _rose(before: str, now: str) -> str:
    """Return how an accuracy that did not fall changed; equal digits are not called a rise."""
    return f"it stayed at {now}" if before == now else f"it rose from {before} to {now}"
