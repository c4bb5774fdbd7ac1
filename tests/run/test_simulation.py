"""Runs on several workers, simulated."""

import pytest

from morex.run.simulation import Timed, simulate

TRAIN = [Timed(f"train-{i}", (), 10.0) for i in range(4)]
MIXTURE = Timed("train-more", tuple(stage.id for stage in TRAIN), 20.0)
EVALUATE = Timed("evaluate-more", ("train-more",), 16.0, parts=8)


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [
        (1, 4 * 10 + 20 + 16),
        (2, 2 * 10 + 20 + 16 / 2),  # the evaluation is in two parts
        (3, 2 * 10 + 20 + 16 / 3),  # one of the four experts is alone
        (4, 10 + 20 + 16 / 4),
        (64, 10 + 20 + 16 / 8),  # it has no more than eight batches
    ],
)
def test_the_time_of_a_mixture_of_four_experts(workers: int, seconds: float) -> None:
    found = simulate([*TRAIN, MIXTURE, EVALUATE], workers)
    assert found.seconds == pytest.approx(seconds)
    assert found.work == 76
    assert found.used == pytest.approx(76 / workers / seconds)


def test_the_longest_chain_is_what_no_number_of_workers_shortens() -> None:
    slow = Timed("train-slow", (), 25.0)
    found = simulate([*TRAIN, MIXTURE, EVALUATE, slow], 64)
    assert found.chain == ("train-0", "train-more", "evaluate-more")
    assert found.chain_seconds == found.seconds == pytest.approx(32)


def test_the_longest_chain_of_work_begins_first() -> None:
    short = [Timed(f"train-short-{i}", (), 1.0) for i in range(3)]
    chain = [Timed("train-long", (), 1.0), Timed("train-later", ("train-long",), 5.0)]
    assert simulate([*short, *chain], 2).seconds == 6


def test_a_run_of_no_stages_takes_no_time() -> None:
    assert simulate([], 8).seconds == 0
