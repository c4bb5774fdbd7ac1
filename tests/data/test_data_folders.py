from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from morex.data import DataError, load_data


def picture(path: Path, colour: object = 7, mode: str = "RGB", size: tuple[int, int] = (4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, made in the order that is not the alphabet's."""
    for split, base in (("train", 0), ("test", 100)):
        for label, name in ((1, "zebra"), (0, "ant")):
            for number in range(3):
                grey = base + 10 * label + number
                picture(tmp_path / split / name / f"{number}.png", (grey,) * 3)
    return tmp_path


def test_classes_are_sorted_and_images_take_turns(folder):
    data = load_data("mine", folder)
    assert data.train.classes == data.test.classes == ("ant", "zebra")
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 10, 1, 11, 2, 12]
    assert data.train.labels.tolist() == [0, 1] * 3
    assert data.test.images[:, 2, 3, 3].tolist() == [100, 110, 101, 111, 102, 112]


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_validation_serves_as_test(folder, name):
    (folder / "test").rename(folder / name)
    assert len(load_data("mine", folder).test) == 6


def test_other_files_are_ignored_and_deeper_folders_are_not(folder):
    (folder / "train" / "ant" / "boxes.txt").write_text("0 0 1 1")
    (folder / "train" / ".cache").mkdir()
    picture(folder / "train" / "ant" / "images" / "9.JPEG")
    data = load_data("mine", folder)
    assert len(data.train) == 7
    assert data.train.classes == ("ant", "zebra")


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/0.png",
        "__MACOSX/0.png",
        "@eaDir/0.png",
        ".DS_Store",
        "ant/.ipynb_checkpoints/0-checkpoint.png",
        "ant/__MACOSX/0.png",
        "ant/._0.png",
        "ant/deeper/.hidden.jpg",
    ],
)
def test_hidden_files_and_folders_are_neither_classes_nor_pictures(folder, name):
    before = load_data("mine", folder).train.fingerprint()
    path = folder / "train" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no picture")
    assert load_data("mine", folder).train.fingerprint() == before


def test_data_below_a_hidden_folder_is_read(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("home") / ".cache" / "__MACOSX"
    place.parent.mkdir()
    folder.rename(place)
    assert len(load_data("mine", place).train) == 6


def test_a_folder_is_no_picture(folder):
    (folder / "train" / "ant" / "all.png").mkdir()
    assert len(load_data("mine", folder).train) == 6


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("LA", (77, 0), "png", (77, 77, 77)),
        ("RGBA", (1, 2, 3, 4), "png", (1, 2, 3)),
        ("CMYK", (255, 0, 0, 0), "tif", (0, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb(folder, mode, colour, suffix, expected):
    picture(folder / "train" / "ant" / f"0.{suffix}", colour, mode)
    if suffix != "png":
        (folder / "train" / "ant" / "0.png").unlink()
    assert tuple(load_data("mine", folder).train.images[0, :, 1, 2].tolist()) == expected


def test_palettes_become_rgb_without_a_warning(folder):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.save(folder / "train" / "ant" / "0.png", transparency=b"\x00\x80")
    assert load_data("mine", folder).train.images[0, :, 1, 2].tolist() == [10, 20, 30]


def test_sixteen_bits_are_scaled_to_eight(folder):
    deep = np.full((4, 4), 40_000, dtype=np.uint16)
    Image.fromarray(deep).save(folder / "train" / "ant" / "0.png")
    assert load_data("mine", folder).train.images[0].unique().tolist() == [156]  # of 155.6


def test_pictures_that_are_stored_turned_are_upright(folder):
    turned = Image.fromarray(np.array([[10, 20], [30, 40]], np.uint8)).resize((4, 4), 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "train" / "ant" / "0.png", exif=exif)
    image = load_data("mine", folder).train.images[0, 0]
    assert image[::2, ::2].tolist() == [[30, 10], [40, 20]]


def test_all_bad_pictures_are_listed(folder):
    for number in (0, 2):
        (folder / "train" / "ant" / f"{number}.png").write_bytes(b"no picture")
    picture(folder / "train" / "zebra" / "1.png", size=(5, 4))
    with pytest.raises(DataError) as caught:
        load_data("mine", folder)
    head, *lines = str(caught.value).split("\n  ")
    assert head == "3 pictures cannot be used:"
    assert [line.split(": ")[0].split("/")[-2:] for line in lines] == [
        ["ant", "0.png"],
        ["zebra", "1.png"],
        ["ant", "2.png"],
    ]
    assert "zebra/1.png: the image is 4x5, but those before it are 4x4" in lines[1]


def test_sizes_must_agree_or_are_made_to(folder):
    stripes = np.zeros((12, 24, 3), dtype=np.uint8)
    stripes[:, 6:18] = 200  # the central square
    Image.fromarray(stripes).save(folder / "train" / "zebra" / "1.png")
    with pytest.raises(
        DataError, match=r"zebra/1.png: the image is 12x24, but .* 4x4; .*image_size"
    ):
        load_data("mine", folder)
    data = load_data("mine", folder, image_size=4)
    assert data.train.images[3].min() > 150  # black would show if it was squeezed or padded
    assert data.train.images[2].unique().tolist() == [1]


def test_undecodable_pictures_are_named(folder):
    (folder / "train" / "ant" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"ant/1.png: the image cannot be decoded .*; replace"):
        load_data("mine", folder)


def test_a_class_without_train_images_is_refused(folder):
    (folder / "train" / "bee").mkdir()
    with pytest.raises(DataError, match="no train image has class 'bee'"):
        load_data("mine", folder)


def test_a_class_only_in_test_is_refused(folder):
    (folder / "test" / "ant").rename(folder / "test" / "gnu")
    with pytest.raises(DataError, match=r"test/gnu: .*train has no such class"):
        load_data("mine", folder)


def test_a_split_without_classes_or_pictures_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="train: no class folders here"):
        load_data("mine", tmp_path)
    (tmp_path / "train" / "ant").mkdir()
    with pytest.raises(DataError, match="train: no pictures in its class folders"):
        load_data("mine", tmp_path)


def test_columns_mean_nothing_here(folder):
    with pytest.raises(DataError, match=r"class folders, which have no columns: .* label_column"):
        load_data("mine", folder, label_column="label")
