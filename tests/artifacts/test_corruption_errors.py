"""Summaries of accuracies under common corruptions."""

import pytest

from morex.artifacts.corruption_errors import BENCHMARK, mean_corruption_error
from morex.perturbations import CORRUPTIONS


def test_mce_is_the_mean_error_of_the_benchmark() -> None:
    means = {"fog": 0.5, "snow": 0.9, "spatter": 0.1, "speckle_noise": 0.0}
    assert mean_corruption_error(means) == pytest.approx((0.5 + 0.1) / 2)


def test_mce_relative_to_a_baseline() -> None:
    means, baseline = {"hendrycks-fog": 0.5, "jpeg": 0.9}, {"jpeg": 0.6, "hendrycks-fog": 0.75}
    assert mean_corruption_error(means, baseline) == pytest.approx((0.5 / 0.25 + 0.1 / 0.4) / 2)
    with pytest.raises(ValueError, match="no accuracy for jpeg"):
        mean_corruption_error(means, {"hendrycks-fog": 0.75})
    with pytest.raises(ValueError, match="corruptions such as fog, got spatter"):
        mean_corruption_error({"spatter": 0.5})


def test_a_baseline_without_errors_is_refused() -> None:
    with pytest.raises(ValueError, match="the baseline makes no errors in jpeg"):
        mean_corruption_error({"jpeg": 0.9, "fog": 0.5}, {"jpeg": 1.0, "fog": 0.5})


def test_there_is_a_generator_for_each_of_the_fifteen() -> None:
    names = [kind.name for kind in CORRUPTIONS]
    assert list(BENCHMARK.values()) == names[:15]
    assert len(names) == 19
