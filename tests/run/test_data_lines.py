"""The data of a run in words."""

from pathlib import Path

import pytest
from PIL import Image
from tiny import CPU, changed, raw_recipe

from morex.recipe import parse_recipe
from morex.run.builder import Builder
from morex.run.data_lines import data_lines, not_tested


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for split, count in {"train": 4, "test": 2}.items():
        for name in ("ant", "bee", "cow"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (9, 8), (number,) * 3).save(folder / f"{number}.png")
    return tmp_path


def opened(folder: Path) -> Builder:
    data = {"name": "mine", "folder": str(folder), "validation": 0.25}
    return Builder.open(parse_recipe(changed(raw_recipe("clean"), "data", data)), CPU)


def test_every_split_is_counted(pictures: Path) -> None:
    builder = opened(pictures)
    assert [*data_lines(builder)] == [
        "mine: 8x9 pixels, 3 classes",
        "  training   9 images: ant (3), bee (3), cow (3)",
        "  validation 3 images: ant (1), bee (1), cow (1)",
        "  test       6 images: ant (2), bee (2), cow (2)",
    ]
    assert not_tested(builder) == ""


def test_classes_without_test_images_are_named(pictures: Path) -> None:
    for name in ("ant", "cow"):
        (pictures / "test" / name).rename(pictures / f"no-{name}")
    builder = opened(pictures)
    assert [*data_lines(builder)][-1] == "  test       2 images: ant (0), bee (2), cow (0)"
    assert not_tested(builder) == (
        "there are no test images of 'ant' and 'cow': the results say nothing about these classes"
    )
