"""How many images each class has, in words."""

import torch

from morex.data import ImageSet
from morex.data.counts import absent_classes, in_classes


def images(*counts: int) -> ImageSet:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    names = tuple(f"c{k}" for k in range(len(counts)))
    return ImageSet(torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8), labels, names)


def test_few_classes_are_listed() -> None:
    assert in_classes(images(3, 0, 5)) == "8 images: c0 (3), c1 (0), c2 (5)"
    assert in_classes(images(1)) == "1 image: c0 (1)"


def test_of_many_classes_the_fewest_and_the_most_images_are_named() -> None:
    found = in_classes(images(*[4] * 11, 2, 9, 2))
    assert found == "57 images of 14 classes, from 2 (c11) to 9 (c12) of each"
    assert in_classes(images(*[4] * 13)) == "52 images, 4 of each of 13 classes"


def test_absent_classes_are_named() -> None:
    assert absent_classes(images(1, 0, 2, 0)) == ("c1", "c3")
    assert absent_classes(images(1, 2)) == ()
