"""The alarm for trainings with single steps."""

import pytest

from morex.artifacts.overfitting import overfitted
from morex.artifacts.records import Epoch


def history(*judged: tuple[float, float] | None) -> list[Epoch]:
    """Return epochs of (accuracy under PGD, under the single step); None if not validated."""
    return [
        Epoch(epoch=number, loss=1.0, learning_rate=0.1)
        if pair is None
        else Epoch(
            epoch=number,
            loss=1.0,
            learning_rate=0.1,
            validation=(0.5, pair[0]),
            score=(0.5 + pair[0]) / 2,
            single_step=(0.5, pair[1]),
        )
        for number, pair in enumerate(judged, start=1)
    ]


def test_pgd_that_falls_while_the_single_step_rises_is_an_alarm() -> None:
    said = overfitted(history((0.3, 0.4), None, (0.4, 0.5), (0.02, 0.9), (0.0, 0.95)))
    assert said.startswith("catastrophic overfitting in epoch 4: ")
    assert "under PGD fell from 40.0% to 2.0%" in said
    assert "single step of the training it rose from 50.0% to 90.0%" in said


def test_a_single_step_that_stays_is_not_called_a_rise() -> None:
    for now in (0.5, 0.5002):
        said = overfitted(history((0.4, 0.5), (0.02, now)))
        assert "under the single step of the training it stayed at 50.0%" in said


@pytest.mark.parametrize(
    "judged",
    [
        [(0.3, 0.4), (0.4, 0.5), (0.45, 0.55)],  # it learns
        [(0.4, 0.5), (0.31, 0.52)],  # not far enough
        [(0.4, 0.5), (0.1, 0.2)],  # both fall: the training diverged
        [(0.1, 0.9)],
        [(0.1, 0.9), (0.3, 0.6)],  # the best is later
        [None, None],
        [],
    ],
)
def test_other_histories_are_no_alarm(judged: list[tuple[float, float] | None]) -> None:
    assert overfitted(history(*judged)) == ""


def test_a_training_with_pgd_is_no_alarm() -> None:
    epochs = [
        Epoch(epoch=n, loss=1, learning_rate=0.1, validation=(v,), score=v)
        for n, v in enumerate((0.5, 0.1), 1)
    ]
    assert overfitted(epochs) == ""
