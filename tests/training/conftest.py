"""Data to train on."""

import pytest

from morex.data import Augment, load_data
from morex.training import TrainingData


@pytest.fixture(scope="session")
def digits() -> TrainingData:
    """800 digits to train on and 120 to choose models with."""
    train_set, validation = load_data("digits").train.split(0.2, 0)
    return TrainingData(train_set.sample(800, 0), validation.sample(120, 0))


@pytest.fixture(scope="session")
def few(digits: TrainingData) -> TrainingData:
    """100 digits, shifted at random, and 30: five steps of 20 an epoch."""
    return TrainingData(digits.train.sample(100, 1), digits.validation.sample(30, 1), Augment(1))
