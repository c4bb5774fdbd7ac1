"""Tensors, arrays, Datasets and DataLoaders in place of an ImageSet."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from morex import evaluate, train
from morex.attacks import PGD, RandomNoise, WorstOfDraws
from morex.data import ImageSet, as_image_set
from morex.evaluation import Row, audit_model
from morex.perturbations import Fog, Linf
from morex.training import Single, TrainingConfig, TrainingData

BYTES = torch.randint(256, (10, 3, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
LABELS = torch.arange(10) % 3
PIXELS = BYTES / 255
BETWEEN = torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(1))  # no whole levels


class Pairs(Dataset[tuple[Any, Any]]):
    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return self.images[row], self.labels[row]


class Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        yield from zip(PIXELS, LABELS.tolist(), strict=True)


def loader(images: Any, labels: Any, size: int = 4, **how: Any) -> DataLoader[Any]:
    return DataLoader(Pairs(images, labels), batch_size=size, **how)


SAME: dict[str, Any] = {
    "an ImageSet": ImageSet(BYTES, LABELS, ("0", "1", "2")),
    "bytes": (BYTES, LABELS),
    "floats": (PIXELS, LABELS),
    "a list": [PIXELS, LABELS],
    "doubles": (BYTES.double() / 255, LABELS),
    "names": (BYTES, LABELS, ["0", "1", "2"]),
    "arrays": (BYTES.numpy(), LABELS.numpy()),
    "arrays of floats": (PIXELS.numpy(), LABELS.numpy().astype(np.uint8)),
    "an array that is a view": (BYTES.numpy()[:, :, ::-1][:, :, ::-1], LABELS.numpy()),
    "labels in a list": (BYTES, LABELS.tolist()),
    "short labels": (BYTES, LABELS.to(torch.int32)),
    "a dataset": TensorDataset(PIXELS, LABELS),
    "a dataset with labels that are numbers": Pairs(BYTES, LABELS.tolist()),
    "a dataset of arrays": Pairs(PIXELS.numpy(), LABELS.tolist()),
    "a stream": Stream(),
    "a loader that drops nothing": loader(PIXELS, LABELS, size=5, drop_last=True),
    "a loader with batches of its own": DataLoader(
        Pairs(PIXELS, LABELS),
        batch_sampler=BatchSampler(SequentialSampler(LABELS), 3, drop_last=False),
    ),
    "a loader without batches": DataLoader(
        Pairs(PIXELS[:, None], LABELS[:, None]), batch_size=None
    ),
    "a loader": loader(PIXELS, LABELS),
    "a loader of bytes": loader(BYTES, LABELS.tolist()),
    "channels last": (PIXELS.to(memory_format=torch.channels_last), LABELS),
    "with a gradient": (PIXELS.clone().requires_grad_(), LABELS),
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_gives_the_same_images(form: str) -> None:
    made = as_image_set(SAME[form])
    assert made.images.dtype == torch.uint8  # whole levels, so nothing is lost
    assert torch.equal(made.images, BYTES)
    assert torch.equal(made.labels, LABELS)
    assert made.classes == ("0", "1", "2")
    assert made.digests(10) == as_image_set((BYTES, LABELS)).digests(10)


def test_floats_between_the_levels_are_kept() -> None:
    for given in ((BETWEEN, LABELS), loader(BETWEEN, LABELS), (BETWEEN.numpy(), LABELS)):
        made = as_image_set(given)
        assert torch.equal(made.pixels(slice(None)), BETWEEN)
        assert torch.equal(made.take(torch.tensor([3, 1])).pixels(slice(None)), BETWEEN[[3, 1]])
    nearly = PIXELS.clone()
    nearly[3, 1, 2, 0] += 1e-6  # one pixel is enough
    assert torch.equal(as_image_set((nearly, LABELS)).pixels(slice(None)), nearly)


def test_pixels_may_be_changed_without_changing_the_set() -> None:
    made, before = as_image_set((BETWEEN.clone(), LABELS)), BETWEEN.clone()
    for rows in (slice(None), torch.arange(10)):
        made.pixels(rows).zero_()
    assert torch.equal(made.images, before)


REFUSED: dict[str, tuple[Any, str]] = {
    "normalised": ((PIXELS * 2 - 1, LABELS), "expected floats in .*normalise inside the model"),
    "levels as floats": ((BYTES.float(), LABELS), "divide by 255"),
    "levels as int64": ((BYTES.long(), LABELS), "expected uint8, or float32"),
    "NaN": ((PIXELS * torch.nan, LABELS), "nan"),
    "one image": ((PIXELS[0], LABELS[:1]), r"\(N, C, H, W\)"),
    "no image": ((PIXELS[:0], LABELS[:0]), "at least one"),
    "fewer labels": ((PIXELS, LABELS[:5]), r"labels: expected int64 of shape \(10,\)"),
    "labels in one column": ((PIXELS, LABELS[:, None]), r"labels: .*\(10, 1\)"),
    "one-hot labels": ((PIXELS, torch.eye(10)), "labels: expected int64"),
    "labels as floats": ((PIXELS, LABELS.float()), "labels: expected int64.*float32"),
    "labels as texts": ((PIXELS, list("abcabcabca")), "labels: expected a tensor or array of numb"),
    "labels as arrays of texts": ((PIXELS, np.array(list("abcabcabca"))), "labels: expected a ten"),
    "negative labels": ((PIXELS, LABELS - 100), "expected values in"),
    "fewer names": ((PIXELS, LABELS, ["a"]), r"expected values in \[0, 1\)"),
    "images alone": (PIXELS, "expected an ImageSet.*got a Tensor"),
    "one thing": ((PIXELS,), "got a tuple of 1"),
    "nothing": (None, "got a NoneType"),
    "a path": ("data", "got a str"),
    "a loader that shuffles": (loader(PIXELS, LABELS, shuffle=True), "shuffle=False"),
    "a loader that draws some": (
        loader(PIXELS, LABELS, sampler=SubsetRandomSampler(range(8))),
        "the DataLoader shuffles",
    ),
    "a loader that draws with replacement": (
        loader(PIXELS, LABELS, sampler=WeightedRandomSampler([1.0] * 10, 10)),
        "the DataLoader shuffles",
    ),
    "a loader with batches that are drawn": (
        DataLoader(
            Pairs(PIXELS, LABELS),
            batch_sampler=BatchSampler(RandomSampler(Pairs(PIXELS, LABELS)), 4, drop_last=False),
        ),
        "the DataLoader shuffles",
    ),
    "a loader that shuffles two": (loader(PIXELS[:2], LABELS[:2], shuffle=True), "shuffle=False"),
    "a loader that drops": (
        loader(PIXELS, LABELS, drop_last=True),
        "drops the last 2 images; make it with drop_last=False",
    ),
    "a loader without images": (loader(PIXELS[:0], LABELS[:0]), "at least one image"),
    "a loader of dicts": (
        DataLoader([{"image": i} for i in PIXELS]),  # type: ignore[arg-type]
        "got a dict with image",
    ),
    "images of two shapes": (loader([*PIXELS[:4], PIXELS[4, :, :2]], LABELS[:5]), "one shape"),
    "a dataset of other things": (
        Pairs(list("ab"), [0, 1]),
        "images as tensors, got a str.*ToTens",
    ),
    "a dataset without labels": (
        TensorDataset(PIXELS),
        "pairs of image and label, got a tuple of 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_data_is_refused(case: str) -> None:
    given, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        as_image_set(given)


class Classifier(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(16 * channels, 3)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.fc.weight.copy_(torch.randn(self.fc.weight.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x.flatten(1))
        return logits


SUITE = (Row("noise", RandomNoise(Linf(0.1))), Row("fog", WorstOfDraws(Fog(0.0, 0.5))))


@pytest.mark.parametrize("form", SAME)
def test_an_evaluation_takes_every_form(form: str) -> None:
    model = Classifier()
    expected, found = (evaluate(model, SAME[name], SUITE) for name in ("an ImageSet", form))
    assert found.origins == expected.origins
    for row, right in expected.right.items():
        assert found.right[row].tolist() == right.tolist()


def test_an_evaluation_sees_the_floats_themselves() -> None:
    seen = list[Tensor]()

    def model(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return torch.zeros(len(x), 3)

    evaluate(model, (BETWEEN, LABELS), SUITE[:1])
    assert torch.equal(seen[0], BETWEEN)


def test_grey_images_are_evaluated_and_weather_says_that_it_needs_colour() -> None:
    grey = (PIXELS[:, :1], LABELS)
    assert evaluate(Classifier(1), grey, SUITE).accuracy("noise").n == 10
    found = audit_model(Classifier(1), grey, [Linf(0.01)], steps=1, queries=5).findings
    assert len(found) == 7
    with pytest.raises(ValueError, match="Snow needs RGB images"):
        evaluate(Classifier(1), grey)


def test_reading_does_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    as_image_set(loader(PIXELS, LABELS))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_training_takes_floats_and_names_what_makes_an_image_set() -> None:
    held = as_image_set((BETWEEN, LABELS))
    config = TrainingConfig(epochs=1, batch_size=5, precision="fp32")
    train(Classifier(), Single((PGD(Linf(0.1), steps=1),)), TrainingData(held, held), config)
    with pytest.raises(
        TypeError, match=r"train: expected an ImageSet, got a tuple; .*as_image_set"
    ):
        TrainingData((BETWEEN, LABELS), held)  # type: ignore[arg-type]
