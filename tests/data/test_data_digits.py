import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from morex.data import DataError, load_data


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_every_digit_is_there_once(digits):
    values, labels = load_digits(return_X_y=True)
    expected = sorted(zip(np.rint(values * 255 / 16).tolist(), labels.tolist(), strict=True))
    found = [
        (image.flatten().tolist(), label)
        for part in (digits.train, digits.test)
        for image, label in zip(part.images[:, 0].double(), part.labels.tolist(), strict=True)
    ]
    assert len(found) == 1797
    assert sorted(found) == expected


def test_grey_in_three_channels_over_the_whole_range(digits):
    for part in (digits.train, digits.test):
        assert part.shape == (3, 8, 8)
        assert (part.images == part.images[:, :1]).all()
        assert (part.images.min(), part.images.max()) == (0, 255)


def test_a_fifth_of_every_class_is_for_testing(digits):
    train, test = (part.labels.bincount() for part in (digits.train, digits.test))
    assert digits.train.classes == tuple("0123456789")
    assert torch.equal(test, ((train + test) * 0.2).round().long())


def test_the_test_set_is_always_the_same(digits):
    assert load_data("digits").test.fingerprint() == digits.test.fingerprint()


@pytest.mark.parametrize("option", ["folder", "image_size", "image_column", "label_column"])
def test_options_that_would_do_nothing_are_refused(option, tmp_path):
    with pytest.raises(DataError, match=f"digits comes with scikit-learn.* {option}"):
        load_data("digits", **{option: tmp_path})
