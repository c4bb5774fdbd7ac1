"""Metadata of a Parquet file that a stranger wrote."""

from pathlib import Path

import pyarrow as pa

from morex.data.columns import find_columns


def test_metadata_that_is_nested_too_deeply_is_ignored() -> None:
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("img", picture), ("label", pa.int64())], metadata={"huggingface": "[" * 10**6}
    )
    found = find_columns(Path("a.parquet"), schema, None, None)
    assert (found.image, found.label) == ("img", "label")
