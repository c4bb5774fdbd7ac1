"""Which columns of a parquet file hold the images and the labels."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morex.data.errors import DataError


@dataclass(frozen=True)
class Columns:
    """The names of the image and label columns, and the class names if the file has them."""

    image: str
    label: str
    classes: tuple[str, ...] | None


def find_columns(path: Path, schema: Any, image: str | None, label: str | None) -> Columns:
    """Return the columns of an Arrow ``schema``; if given, ``image`` and ``label`` name them.

    The hub's metadata (features Image and ClassLabel) decides first, then the types of the columns,
    then their usual names.

    Raises:
        DataError: if a column is missing, has an unsuitable type, or is not the only candidate.
    """
    features = _features(schema)
    image = _only_one(path, schema, features, _IMAGE, image)
    label = _only_one(path, schema, features, _LABEL, label)
    names = features.get(label, {}).get("names")
    return Columns(image, label, tuple(names) if names else None)


@dataclass(frozen=True)
class _Role:
    """How to recognise a column of images, or of labels."""

    option: str
    feature: str
    usual: tuple[str, ...]
    holds: str
    fits: Callable[[Any], bool]


def _holds_pictures(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_pictures(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


_IMAGE = _Role("image_column", "Image", ("image", "img"), "encoded images", _holds_pictures)
_LABEL = _Role("label_column", "ClassLabel", ("label", "labels"), "integer labels", _holds_labels)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return the hub's description of every column; empty if there is none."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    features: dict[str, dict[str, Any]] = json.loads(text).get("info", {}).get("features", {})
    return features


def _only_one(
    path: Path,
    schema: Any,
    features: dict[str, dict[str, Any]],
    role: _Role,
    chosen: str | None,
) -> str:
    if chosen is not None:
        return _checked(path, schema, role, chosen)
    fitting: list[str] = [column.name for column in schema if role.fits(column.type)]
    declared = [n for n in fitting if features.get(n, {}).get("_type") == role.feature]
    usual = [n for n in fitting if n in role.usual]
    candidates = declared or (fitting if len(fitting) == 1 else usual or fitting)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        problem = f"any of the columns {', '.join(candidates)} may hold {role.holds}"
    else:
        problem = f"none of the columns {', '.join(schema.names)} holds {role.holds}"
    raise DataError(f"{path}: {problem}; name the right one with the option {role.option}")


def _checked(path: Path, schema: Any, role: _Role, chosen: str) -> str:
    there = ", ".join(schema.names)
    if chosen not in schema.names:
        raise DataError(f"{path}: {role.option} is {chosen!r}, but the columns are {there}")
    kind = schema.field(chosen).type
    if not role.fits(kind):
        raise DataError(
            f"{path}: {role.option} is {chosen!r}, which holds {kind} instead of {role.holds}; "
            f"choose one of {there}"
        )
    return chosen
