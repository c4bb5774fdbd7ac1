import hashlib

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from morex.data import DataError, ImageSet

NAMES = ("cat", "dog", "owl")


def made(labels: list[int], classes: tuple[str, ...] = NAMES) -> ImageSet:
    """Images of which pixel (0, 0) of channel 0 is the row number."""
    images = torch.randint(256, (len(labels), 3, 4, 5), dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(len(labels))
    return ImageSet(images, torch.tensor(labels), classes)


def rows_of(data: ImageSet) -> list[int]:
    return data.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4).double(), torch.zeros(2).long(), "uint8, or float32"),
        (torch.zeros(2, 3, 4, 4).int(), torch.zeros(2).long(), "uint8, or float32"),
        (torch.full((2, 3, 4, 4), 1.5), torch.zeros(2).long(), "divide by 255"),
        (torch.full((2, 3, 4, 4), -0.5), torch.zeros(2).long(), "normalise inside the model"),
        (torch.full((2, 3, 4, 4), torch.nan), torch.zeros(2).long(), "nan, nan"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2).long(), "uint8"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0).long(), "at least one"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3).long(), "labels: .*int64"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2), "labels: .*int64"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 3]), r"\[0, 3\]"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([-1, 0]), r"\[-1, 0\]"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2).long().to("meta"), "meta"),
    ],
)
def test_bad_sets_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(images, labels, NAMES)


def test_length_shape_and_device():
    data = made([0, 1, 2])
    assert (len(data), data.shape, data.device.type) == (3, (3, 4, 5), "cpu")
    assert torch.equal(data.to("cpu").images, data.images)


def test_take_keeps_images_labels_and_order_together():
    data = made([0, 1, 2, 1])
    taken = data.take(torch.tensor([3, 0]))
    assert rows_of(taken) == [3, 0]
    assert taken.labels.tolist() == [1, 0]
    assert taken.classes == NAMES


def test_first():
    data = made([0, 1, 2, 1])
    assert rows_of(data.first(2)) == [0, 1]
    assert len(data.first(99)) == 4
    with pytest.raises(ValueError, match="got 0"):
        data.first(0)


def test_sample_is_even_over_the_classes_and_seeded():
    data = made([0] * 20 + [1] * 20 + [2] * 2)
    sample = data.sample(12, seed=1)
    assert sample.labels.bincount().tolist() == [5, 5, 2]
    assert rows_of(sample) == sorted(set(rows_of(sample)))
    assert [data.labels[row].item() for row in rows_of(sample)] == sample.labels.tolist()
    assert rows_of(sample) == rows_of(data.sample(12, seed=1))
    assert rows_of(sample) != rows_of(data.sample(12, seed=2))
    assert rows_of(data.sample(99, seed=1)) == list(range(42))
    with pytest.raises(ValueError, match="got 0"):
        data.sample(0, seed=1)


def test_pixels_are_bytes_over_255():
    data = made([0, 1, 2])
    for rows in (torch.tensor([2, 1]), slice(1, 3)):
        pixels = data.pixels(rows)
        assert pixels.dtype == torch.float32
        assert torch.equal(pixels, data.images[rows].float() / 255)
    extremes = ImageSet(torch.tensor([0, 255, 51]).byte().view(1, 3, 1, 1), data.labels[:1], NAMES)
    assert extremes.pixels(slice(None)).flatten().tolist() == pytest.approx([0, 1, 0.2])
    assert data.images.dtype == torch.uint8  # the set itself did not change


def test_fingerprint_sees_every_part_and_nothing_else():
    data = made([0, 1, 2])
    same = ImageSet(data.images.clone(), data.labels.clone(), NAMES)
    assert data.fingerprint() == same.fingerprint()
    assert len(data.fingerprint()) == len(hashlib.sha256().hexdigest())
    strided = ImageSet(
        data.images.contiguous(memory_format=torch.channels_last), data.labels, NAMES
    )
    assert strided.fingerprint() == data.fingerprint()
    pixel = data.images.clone()
    pixel[2, 2, 3, 4] ^= 1
    others = [
        ImageSet(pixel, data.labels, NAMES),
        ImageSet(data.images, torch.tensor([0, 1, 1]), NAMES),
        ImageSet(data.images, data.labels, ("cat", "dog", "elk")),
        ImageSet(data.images, data.labels, ("catdog", "", "owl")),
        ImageSet(data.images.view(3, 3, 5, 4), data.labels, NAMES),
    ]
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 6


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.integers(2, 30), min_size=1, max_size=5),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
@example(counts=[2, 9], share=0.99, seed=0)  # rounds to every image
@example(counts=[2, 9], share=0.01, seed=0)  # rounds to none
def test_split_is_stratified_disjoint_and_complete(counts, share, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    data = made(mixed.tolist(), tuple(map(str, range(len(counts)))))
    train, validation = data.split(share, seed)
    assert sorted(rows_of(train) + rows_of(validation)) == list(range(len(data)))
    assert rows_of(train) == sorted(rows_of(train))
    for part in (train, validation):
        assert part.labels.tolist() == mixed[rows_of(part)].tolist()
    for n, held_out in zip(counts, validation.labels.bincount().tolist(), strict=True):
        assert 1 <= held_out <= n - 1
        assert abs(held_out - share * n) <= max(0.5, 1 - share * n, 1 - (1 - share) * n) + 1e-5


def test_split_depends_on_the_seed_alone():
    data = made([0, 1, 2] * 20)
    torch.manual_seed(0)
    once = rows_of(data.split(0.3, seed=5)[1])
    torch.manual_seed(1)
    assert rows_of(data.split(0.3, seed=5)[1]) == once
    assert rows_of(data.split(0.3, seed=6)[1]) != once


def test_split_draws_every_image_about_equally_often():
    data = made([0, 1] * 10, ("a", "b"))
    times = torch.zeros(20)
    for seed in range(200):
        times[rows_of(data.split(0.3, seed)[1])] += 1
    assert (times - 60).abs().max() < 30  # 4.6 standard deviations


def test_split_refuses_what_it_cannot_do():
    with pytest.raises(DataError, match="class 'owl' has 1 image"):
        made([0, 0, 1, 1, 2]).split(0.5, seed=0)
    with pytest.raises(DataError, match="class 'owl' has 0 image"):
        made([0, 0, 1, 1]).split(0.5, seed=0)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="validation"):
            made([0, 0, 1, 1, 2, 2]).split(share, seed=0)
