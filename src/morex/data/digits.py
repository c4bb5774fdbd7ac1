"""The handwritten digits that come with scikit-learn: real images that need no download."""

import torch

from morex.data.images import ImageSet

TEST_SHARE = 0.2
TEST_SEED = 0  # the test set must not depend on a run's seed


def load_digits() -> tuple[ImageSet, ImageSet]:
    """Return (train, test): 1,438 and 359 of the 1,797 digits of scikit-learn, 8x8.

    The grey values 0..16 become round(255 value / 16) in three equal channels. scikit-learn has no
    test set; a fixed fifth of every class is used.
    """
    from sklearn.datasets import load_digits as embedded

    values, labels = embedded(return_X_y=True)
    grey = torch.from_numpy(values).mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    digits = ImageSet(
        grey.repeat(1, 3, 1, 1),
        torch.from_numpy(labels).long(),
        tuple(str(digit) for digit in range(10)),
    )
    return digits.split(TEST_SHARE, TEST_SEED)
