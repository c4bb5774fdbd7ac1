"""Extra images have their share of each batch, and come back only after all the others."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_training import CLEAN, Memory, Small, config, same, state
from torch import Tensor

from morex.data import Augment, ImageSet
from morex.training import Extra, Single, TrainingData, train
from morex.training.batches import Batches


def images(count: int, first: int, **changes: Any) -> ImageSet:
    """Images of one colour each, by which they are known."""
    colours = torch.arange(first, first + count, dtype=torch.uint8)
    parts = {"labels": torch.arange(count) % 10, "classes": tuple("0123456789")} | changes
    return ImageSet(colours.view(-1, 1, 1, 1).repeat(1, 3, 8, 8), **parts)


def data(share: float = 0.7, extra: int = 9) -> TrainingData:
    return TrainingData(images(20, 0), images(5, 200), extra=Extra(images(extra, 100), share))


def colours(x: Tensor) -> list[int]:
    return [int(value) for value in (x[:, 0, 0, 0] * 255).round()]


def test_every_batch_has_the_share_and_an_epoch_is_one_of_the_other_images() -> None:
    batches = Batches(data(), 10, seed=1, name="n")
    assert batches.per_epoch == 6  # 20 images, 3 in a batch
    assert data().images_per_epoch(10) == 60
    own, more = list[int](), list[int]()
    for step in range(12):
        x, y, _ = batches.draw(step)
        found = colours(x)
        own, more = own + found[:3], more + found[3:]
        assert y.tolist() == [(c if c < 100 else c - 100) % 10 for c in found]
    assert set(own) <= set(range(20))
    assert len(set(own[:18])) == len(set(own[18:])) == 18
    assert all(100 <= colour < 109 for colour in more)
    for start in range(0, 81, 9):
        assert sorted(more[start : start + 9]) == list(range(100, 109))
    assert len({tuple(more[start : start + 9]) for start in range(0, 81, 9)}) > 5


def test_a_batch_may_have_more_extra_images_than_there_are() -> None:
    x, _, _ = Batches(data(extra=3), 10, seed=1, name="n").draw(4)
    assert sorted(Counter(colours(x)[3:]).values()) == [2, 2, 3]


def test_extra_images_are_augmented_like_the_others() -> None:
    moved = replace(data(), augment=Augment(crop=4))
    black = Batches(moved, 10, seed=1, name="n").draw(0)[0] == 0
    assert black[:3].any()
    assert black[3:].flatten(1).any(1).sum() > 4


@pytest.mark.parametrize("before", [range(9), [0], [11, 3]], ids=str)
def test_a_step_has_the_same_images_whatever_came_before(before: Iterable[int]) -> None:
    after, alone = (Batches(data(), 10, seed=1, name="n") for _ in range(2))
    for step in before:
        after.draw(step)
    assert colours(after.draw(9)[0]) == colours(alone.draw(9)[0])


def test_a_resumed_training_ends_with_the_same_bits() -> None:
    memory, settings = Memory(every=4), config(batch_size=10)
    whole, resumed = Small(1), Small(2)
    train(whole, Single((CLEAN,)), data(), settings, checkpoint=memory)
    train(resumed, Single((CLEAN,)), data(), settings, checkpoint=Memory(start=memory.saved[1]))
    assert same(state(whole), state(resumed))
    other = Memory(start=memory.saved[1])
    with pytest.raises(ValueError, match=r"extra images.share was 0\.7 and is 0\.5 now"):
        train(resumed, Single((CLEAN,)), data(0.5), settings, checkpoint=other)


def test_shares_and_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 1\), got 1\.0"):
        data(1.0)
    for share in (0.01, 0.99):
        with pytest.raises(ValueError, match="change the share or batch_size"):
            Batches(data(share), 10, seed=1, name="n")
    with pytest.raises(ValueError, match="shape, classes and device"):
        TrainingData(
            images(20, 0),
            images(5, 200),
            extra=Extra(images(9, 0, classes=tuple("abcdefghij")), 0.5),
        )
