"""Data sets in parquet files, in the layout of the Hugging Face hub.

Rows are counted from 0 in each file, also in error messages.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from morex.data.columns import Columns, find_columns
from morex.data.decode import Picture, decode_all
from morex.data.errors import DataError
from morex.data.images import ImageSet
from morex.data.opened import require_regular
from morex.data.splits import test_order

_BATCH = 1000  # rows whose encoded pictures are held in memory at a time


def read_shards(
    train: list[Path],
    test: list[Path],
    *,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> tuple[ImageSet, ImageSet]:
    """Return the (train, test) images of these files; the classes are those of ``train``.

    If the files have no class names, class k is called "k".

    Raises:
        DataError: if a file, column, label or image cannot be used, or if files disagree.
    """
    columns = _common_columns([*train, *test], image_column, label_column)
    # every class needs a training image: without names, this bounds the number of classes
    labels = _labels(train, columns, len(columns.classes) if columns.classes else _rows(train))
    classes = columns.classes or tuple(map(str, range(int(labels.max()) + 1)))
    test_labels = _labels(test, columns, len(classes))
    return (
        ImageSet(_images(train, columns, len(labels), image_size), labels, classes),
        ImageSet(_images(test, columns, len(test_labels), image_size), test_labels, classes),
    )


def read_split_shards(
    files: list[Path],
    *,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageSet:
    """Return the images of one split, with its classes as in ``read_shards``.

    Raises:
        DataError: as for ``read_shards``.
    """
    columns = _common_columns(files, image_column, label_column)
    labels = _labels(files, columns, len(columns.classes) if columns.classes else _rows(files))
    classes = columns.classes or tuple(map(str, range(int(labels.max()) + 1)))
    return ImageSet(_images(files, columns, len(labels), image_size), labels, classes)


def read_few(
    test: list[Path],
    count: int,
    *,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> tuple[torch.Tensor, ImageSet]:
    """Return the first ``count`` test images in the order of tests, and their rows.

    No others are decoded.

    Raises:
        DataError: as for ``read_shards``.
    """
    columns = _common_columns(test, image_column, label_column)
    labels = _labels(test, columns, len(columns.classes) if columns.classes else _rows(test))
    classes = columns.classes or tuple(map(str, range(int(labels.max()) + 1)))
    rows = test_order(len(labels))[:count]
    wanted = {*rows.tolist()}
    found = {row: p for row, p in enumerate(_pictures(test, columns)) if row in wanted}
    images = decode_all((found[row] for row in rows.tolist()), len(rows), image_size)
    return rows, ImageSet(images, labels[rows], classes)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a parquet file; errors in reading it become a ``DataError``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_regular(path)
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path}: not a readable parquet file ({reason}); copy or download it again"
        ) from error


def _common_columns(
    paths: list[Path], image_column: str | None, label_column: str | None
) -> Columns:
    first: Columns | None = None
    for path in paths:
        with _opened(path) as file:
            columns = find_columns(path, file.schema_arrow, image_column, label_column)
        first = first or columns
        if columns != first:
            raise DataError(
                f"{path}: columns or class names differ from those of {paths[0]}; "
                "give all files the same"
            )
    assert first is not None  # a split has at least one file
    return first


def _rows(paths: list[Path]) -> int:
    total = 0
    for path in paths:
        with _opened(path) as file:
            total += file.metadata.num_rows
    return total


def _labels(paths: list[Path], columns: Columns, most: int) -> torch.Tensor:
    """Return all labels, int64 (N,), checked to be in [0, most)."""
    labels = torch.cat([_labels_of(path, columns, most) for path in paths])
    if not len(labels):
        raise DataError(f"{paths[0]}: the file has no rows; replace it")
    return labels


def _labels_of(path: Path, columns: Columns, most: int) -> torch.Tensor:
    with _opened(path) as file:
        column = file.read(columns=[columns.label]).column(0).combine_chunks()
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{path}: row {row} has no label; add one or remove the row")
    labels = column.to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((labels < 0) | (labels >= most))
    if len(wrong):
        raise DataError(
            f"{path}: row {wrong[0]} has label {labels[wrong[0]]}, outside [0, {most}); number "
            "the classes from 0 without gaps, each with a training image, or remove the row"
        )
    return torch.from_numpy(labels.astype(np.int64))


def _images(
    paths: list[Path], columns: Columns, count: int, image_size: int | None
) -> torch.Tensor:
    return decode_all(_pictures(paths, columns), count, image_size)


def _pictures(paths: list[Path], columns: Columns) -> Iterator[Picture]:
    for path in paths:
        with _opened(path) as file:
            row = 0
            for batch in file.iter_batches(_BATCH, columns=[columns.image]):
                for content in _encoded(batch.column(0)):
                    yield f"{path}: row {row}", content
                    row += 1


def _encoded(column: Any) -> list[bytes | None]:
    """Return the encoded pictures in a column of struct<bytes, path> or of bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    encoded: list[bytes | None] = column.to_pylist()
    return encoded
