import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from morex.data import Data, DataError, load_data

CLASSES = ["cat", "dog", "owl"]


def png(colour: int, size: int = 4) -> bytes:
    """A grey PNG of one colour with a brighter corner at the top right."""
    pixels = np.full((size, size, 3), colour, dtype=np.uint8)
    pixels[0, -1] = 255, colour, 0
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def metadata(classes: list[str] | None = CLASSES, image: str = "img", label: str = "label"):
    if classes is None:
        return None
    features = {image: {"_type": "Image"}, label: {"names": classes, "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def write(path: Path, columns: dict[str, object], classes: list[str] | None = CLASSES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns).replace_schema_metadata(metadata(classes))
    pq.write_table(table, path, row_group_size=2)
    return path


def pictures(*contents: bytes | None) -> list[dict[str, bytes | str | None]]:
    return [{"bytes": content, "path": "x.png"} for content in contents]


def shard(path: Path, colours: list[int], labels: list[int | None] | None = None, **options):
    """A file with one plain picture for each colour."""
    labels = [i % 3 for i in range(len(colours))] if labels is None else labels
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array(pictures(*map(png, colours)), kind)
    columns = {"img": images, "label": pa.array(labels, pa.int64())}
    return write(path, columns, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shard(tmp_path / "train-00000-of-00001.parquet", [10, 20, 30, 40])
    shard(tmp_path / "test-00000-of-00001.parquet", [50, 60], [2, 0])
    return tmp_path


def train_file(folder: Path) -> Path:
    return folder / "train-00000-of-00001.parquet"


def colours(data: Data) -> tuple[list[int], list[int]]:
    return data.train.images[:, 0, 1, 1].tolist(), data.test.images[:, 0, 1, 1].tolist()


def test_images_labels_and_class_names(folder):
    data = load_data("mine", folder)
    assert colours(data) == ([10, 20, 30, 40], [50, 60])
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 2, 0], [2, 0])
    assert data.train.classes == data.test.classes == tuple(CLASSES)
    assert data.train.images.dtype == torch.uint8


def test_pixels_keep_their_place_and_channel(folder):
    image = load_data("mine", folder).train.images[1]
    assert image[:, 0, 3].tolist() == [255, 20, 0]
    image[:, 0, 3] = 20
    assert (image == 20).all()


def test_more_rows_than_are_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("morex.data.parquet._BATCH", 3)
    shard(tmp_path / "train.parquet", list(range(20)))
    shard(tmp_path / "test.parquet", [9])
    assert colours(load_data("mine", tmp_path)) == (list(range(20)), [9])


@pytest.mark.parametrize("place", ["", "data", "a/b"])
def test_shards_are_joined_in_the_order_of_their_names(tmp_path, place):
    for number in (1, 0, 2):
        name = f"train-0000{number}-of-00003-1f2e.parquet"
        shard(tmp_path / place / name, [number, 100 + number, 200 + number])
    shard(tmp_path / place / "test-00000-of-00001.parquet", [7])
    assert colours(load_data("mine", tmp_path))[0] == [0, 100, 200, 1, 101, 201, 2, 102, 202]


def test_the_folder_may_name_the_split(tmp_path):
    shard(tmp_path / "train" / "0000.parquet", [1, 2, 3])
    shard(tmp_path / "validation" / "0000.parquet", [4])
    assert colours(load_data("mine", tmp_path)) == ([1, 2, 3], [4])


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_validation_serves_as_test_only_without_one(folder, name):
    shard(folder / f"{name}-00000-of-00001.parquet", [99])
    assert colours(load_data("mine", folder))[1] == [50, 60]
    (folder / "test-00000-of-00001.parquet").unlink()
    assert colours(load_data("mine", folder))[1] == [99]


def test_without_metadata_types_and_names_decide(tmp_path):
    for split in ("train", "test"):
        columns = {
            "id": [5, 6, 7],
            "image": [png(1), png(2), png(3)],  # plain bytes, no struct
            "label": pa.array([0, 1, 2], pa.int8()),
        }
        write(tmp_path / f"{split}.parquet", columns, classes=None)
    data = load_data("mine", tmp_path)
    assert data.train.classes == ("0", "1", "2")
    assert (colours(data)[0], data.train.labels.tolist()) == ([1, 2, 3], [0, 1, 2])


def ambiguous(folder: Path) -> None:
    for split in ("train", "test"):
        columns = {
            "left": pictures(png(1), png(2)),
            "right": pictures(png(3), png(4)),
            "coarse": [0, 0],
            "fine": [1, 0],
        }
        write(folder / f"{split}.parquet", columns, classes=None)


def test_options_choose_between_columns(tmp_path):
    ambiguous(tmp_path)
    data = load_data("mine", tmp_path, image_column="right", label_column="fine")
    assert (colours(data)[0], data.train.labels.tolist()) == ([3, 4], [1, 0])


def test_the_metadata_wins_over_customary_names(tmp_path):
    for split in ("train", "test"):
        columns = {"img": pictures(png(1)), "image": pictures(png(2)), "label": [0]}
        write(tmp_path / f"{split}.parquet", columns, classes=["only"])
    assert colours(load_data("mine", tmp_path))[0] == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "any of the columns left, right may hold encoded images; .* option image_column"),
        (
            {"image_column": "left"},
            "any of the columns coarse, fine may hold .* option label_column",
        ),
        ({"image_column": "middle"}, "image_column is 'middle', but the columns are left, right"),
        ({"image_column": "fine"}, "image_column is 'fine', which holds int64"),
        ({"image_column": "left", "label_column": "right"}, "label_column is 'right', which hold"),
    ],
)
def test_wrong_or_unclear_columns_are_refused(tmp_path, options, message):
    ambiguous(tmp_path)
    with pytest.raises(DataError, match=message):
        load_data("mine", tmp_path, **options)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["cat"], "string"),
        (pa.array(["cat"]).dictionary_encode(), "dictionary<values=string, indices=int32, ord"),
        ([1.0], "double"),
        ([True], "bool"),
        (pa.nulls(1), "null"),
        ([[1]], "list<"),
    ],
)
def test_labels_that_are_no_integers_are_refused(folder, labels, kind):
    write(train_file(folder), {"img": pictures(png(1)), "label": labels})
    with pytest.raises(DataError) as caught:
        load_data("mine", folder)
    message = str(caught.value)
    assert "none of the columns holds integer labels: img (struct<bytes: binary" in message
    assert f"label ({kind}" in message
    assert message.endswith(
        "; replace the labels by the numbers of their classes, 0, 1, 2, ..., alike in all files"
    )
    with pytest.raises(DataError, match=r"label_column is 'label', .* or replace the labels by"):
        load_data("mine", folder, label_column="label")


def test_images_that_are_not_encoded_are_refused(folder):
    write(train_file(folder), {"img": ["cat.png"], "label": [0]})
    with pytest.raises(DataError, match=r"encoded images: img \(string\), label .*; store the con"):
        load_data("mine", folder)


@pytest.mark.parametrize("options", [{}, {"label_column": "label"}])
def test_two_columns_of_one_name_are_refused(folder, options):
    table = pa.table([pictures(png(1)), [0], [1]], names=["img", "label", "label"])
    pq.write_table(table, train_file(folder))
    with pytest.raises(DataError, match="two columns have the name 'label'; rename one"):
        load_data("mine", folder, **options)


def test_columns_that_are_not_used_may_have_one_name(folder):
    table = pa.table([pictures(png(1)), [0], [""], [""]], names=["img", "label", "id", "id"])
    for split in ("train", "test"):
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    assert load_data("mine", folder).train.labels.tolist() == [0]


ODD_METADATA = [
    b"",
    b"null",
    b"[]",
    b"3",
    b"{",
    b"\xff",
    b'{"info": null}',
    b'{"info": []}',
    b'{"info": {"features": null}}',
    b'{"info": {"features": [{"name": "label"}]}}',
    b'{"info": {"features": {"label": null, "img": null}}}',
    b'{"info": {"features": {"label": [{"_type": "ClassLabel"}], "img": 1}}}',
    *(
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": %s}}}}' % names
        for names in (b"null", b"[]", b'"cat"', b"[1, 2, 3]", b'{"cat": 0}', b"3")
    ),
]


@pytest.mark.parametrize("text", ODD_METADATA)
def test_metadata_of_another_form_is_ignored(tmp_path, text):
    for split in ("train", "test"):
        columns = {"img": pictures(png(1), png(2), png(3)), "label": [2, 0, 1]}
        path = write(tmp_path / f"{split}.parquet", columns)
        table = pq.read_table(path).replace_schema_metadata({b"huggingface": text})
        pq.write_table(table, path)
    train = load_data("mine", tmp_path).train
    assert (train.classes, train.labels.tolist()) == (("0", "1", "2"), [2, 0, 1])


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.int64(), pa.uint64()])
def test_labels_of_any_integer_type_are_read(tmp_path, kind):
    for split in ("train", "test"):
        columns = {"img": pictures(png(1), png(2)), "label": pa.array([1, 0], kind)}
        write(tmp_path / f"{split}.parquet", columns, classes=None)
    assert load_data("mine", tmp_path).train.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (3, pa.int64()),
        (-1, pa.int64()),
        (2**33, pa.int64()),
        (2**62, pa.int64()),
        (2**64 - 1, pa.uint64()),
        (200, pa.uint8()),
        (-128, pa.int8()),
    ],
)
def test_without_names_classes_are_no_more_than_images(tmp_path, label, kind):
    columns = {"img": pictures(png(1), png(2), png(3)), "label": pa.array([0, 1, label], kind)}
    write(tmp_path / "train.parquet", columns, classes=None)
    shard(tmp_path / "test.parquet", [1], [0], classes=None)
    with pytest.raises(
        DataError,
        match=rf"train.parquet: row 2 has label {label}, outside \[0, 3\); number the classes",
    ):
        load_data("mine", tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3, 2], r"train-0.*parquet: row 2 has label 3, outside \[0, 3\)"),
        ([0, 1, 2, -1], r"row 3 has label -1, outside \[0, 3\)"),
        ([0, None, 1, 2], r"train-0.*parquet: row 1 has no label"),
        ([0, 2, 2, 0], "no train image has class 'dog'"),
    ],
)
def test_bad_labels_are_refused(folder, labels, message):
    shard(train_file(folder), [1, 2, 3, 4], labels)
    with pytest.raises(DataError, match=message):
        load_data("mine", folder)


def test_test_labels_must_be_among_the_classes_of_train(tmp_path):
    shard(tmp_path / "train.parquet", [1, 2, 3], classes=None)
    shard(tmp_path / "test.parquet", [1, 2], [0, 3], classes=None)
    with pytest.raises(DataError, match=r"test.parquet: row 1 has label 3, outside \[0, 3\)"):
        load_data("mine", tmp_path)


def test_undecodable_and_absent_images_are_named(folder):
    good = png(1)
    for content, message in [
        (b"no picture", "row 1: the image cannot be decoded"),
        (b"", "row 1: the image cannot be decoded"),
        (good[: len(good) - 25], "row 1: the image cannot be decoded"),
        (None, "row 1: there are no image bytes; add them"),
        (png(1, size=6), "row 1: the image is 6x6, but those before it are 4x4; .* image_size"),
    ]:
        columns = {"img": pictures(good, content, good), "label": [0, 1, 2]}
        write(train_file(folder), columns)
        with pytest.raises(DataError, match=f"train-00000-of-00001.parquet: {message}"):
            load_data("mine", folder)


def test_bad_rows_are_listed_but_not_without_end(folder):
    columns = {"img": pictures(png(1), None, *[b""] * 30), "label": [0, 1] * 16}
    write(train_file(folder), columns)
    with pytest.raises(DataError) as caught:
        load_data("mine", folder)
    head, *lines = str(caught.value).split("\n  ")
    assert head == "at least 10 pictures cannot be used:"
    assert [line.split(": ")[1] for line in lines] == [f"row {k}" for k in range(1, 11)]


def test_encoded_pictures_are_turned_upright(folder):
    exif = Image.Exif()
    exif[0x0112] = 3
    stream = io.BytesIO()
    Image.open(io.BytesIO(png(1))).save(stream, "png", exif=exif)
    write(train_file(folder), {"img": pictures(*[stream.getvalue()] * 3), "label": [0, 1, 2]})
    assert load_data("mine", folder).train.images[0, 0].argmax() == 12  # the lower left corner


def test_image_size_brings_sizes_together(folder):
    columns = {"img": pictures(png(1), png(2, 6), png(3, 9)), "label": [0, 1, 2]}
    write(train_file(folder), columns)
    assert load_data("mine", folder, image_size=5).train.shape == (3, 5, 5)
    with pytest.raises(DataError, match=r"image_size: .* got 0"):
        load_data("mine", folder, image_size=0)


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_truncated_file_is_named(folder, kept):
    path = train_file(folder)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"train-0.*: not a readable parquet file \(.*\); copy"):
        load_data("mine", folder)


def test_a_file_without_rows_is_named(folder):
    shard(train_file(folder), [])
    with pytest.raises(DataError, match=r"train-00000-of-00001.parquet: the file has no rows"):
        load_data("mine", folder)


def test_a_missing_shard_is_noticed(folder):
    shard(folder / "data" / "val-00001-of-00002.parquet", [1])
    with pytest.raises(DataError, match=r"of the 'val' split, but number 0 is missing"):
        load_data("mine", folder)


def test_files_must_agree(folder):
    shard(folder / "test-00000-of-00001.parquet", [1], [0], classes=["cat", "owl", "dog"])
    with pytest.raises(DataError, match=r"test-0.* class names differ from those of .*train-0"):
        load_data("mine", folder)


def test_two_data_sets_in_one_folder_are_not_mixed(tmp_path):
    for config in ("big", "small"):
        for split in ("train", "test"):
            shard(tmp_path / config / f"{split}-00000-of-00001.parquet", [1, 2, 3])
    with pytest.raises(DataError, match=r"big and .*small: each has a '(train|test)' split"):
        load_data("mine", tmp_path)
    assert len(load_data("mine", tmp_path / "big").train) == 3


@pytest.mark.parametrize(
    ("gone", "message"), [("train", "no 'train' split, found test"), ("test", "found train; add")]
)
def test_missing_splits_are_named(folder, gone, message):
    (folder / f"{gone}-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=message):
        load_data("mine", folder)


def test_train_and_test_must_have_one_size(folder):
    columns = {"img": pictures(png(1, 6)), "label": [0]}
    write(folder / "test-00000-of-00001.parquet", columns)
    with pytest.raises(DataError, match=r"\(3, 4, 4\) and test images \(3, 6, 6\); .* image_size"):
        load_data("mine", folder)
