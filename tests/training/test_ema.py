"""The moving average of the weights."""

import pytest
import torch

from morex.training.ema import MovingAverage


@pytest.mark.parametrize("weight", [0.0, torch.zeros(())], ids=["number", "tensor"])
def test_the_moving_average_is_that_of_the_formula(weight: float | torch.Tensor) -> None:
    followed = {"w": torch.tensor([1.0, -2.0]), "count": torch.tensor(3)}
    average = MovingAverage(followed, 0.3, weight)
    values, expected = [5.0, 7.0, -1.0, 2.0], 1.0
    for t, value in enumerate(values, start=1):
        followed["w"][0], followed["count"] = value, followed["count"].fill_(t)
        average.begin_update()
        average.update()
        d = min(0.3, (1 + t) / (10 + t))  # 2/11, 3/12, then 0.3
        expected = d * expected + (1 - d) * value
        assert average.shadow["w"].tolist() == pytest.approx([expected, -2.0])
        assert average.shadow["count"] == t
    assert followed["w"][0] == 2.0  # the followed tensor does not change


def test_averages_are_in_place_for_a_block_only() -> None:
    followed = {"w": torch.tensor([1.0])}
    average = MovingAverage(followed, 0.9)
    followed["w"].fill_(2.0)

    def interrupted() -> None:
        with average.applied():
            assert followed["w"] == 1.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert followed["w"] == 2.0
