"""Which columns of a parquet file hold the images and the labels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morex.core.near import did_you_mean
from morex.core.strict_json import parse_json
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
    return Columns(image, label, _class_names(features.get(label, {})))


@dataclass(frozen=True)
class _Role:
    """How to recognise a column of images, or of labels."""

    option: str
    feature: str
    usual: tuple[str, ...]
    holds: str
    fits: Callable[[Any], bool]
    repair: str
    """What to do with a column that does not fit."""


def _holds_pictures(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_pictures(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


_IMAGE = _Role(
    "image_column",
    "Image",
    ("image", "img"),
    "encoded images",
    _holds_pictures,
    "store the content of the PNG or JPEG files in a column of type binary",
)
_LABEL = _Role(
    "label_column",
    "ClassLabel",
    ("label", "labels"),
    "integer labels",
    _holds_labels,
    "replace the labels by the numbers of their classes, 0, 1, 2, ..., alike in all files",
)


def _unique(path: Path, schema: Any, name: str) -> str:
    """Return ``name``; raise if several columns have it."""
    if schema.names.count(name) > 1:
        raise DataError(f"{path}: two columns have the name {name!r}; rename one of them")
    return name


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return the hub's description of every column; empty if there is none that can be read."""
    try:
        hub = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:  # neither JSON nor text
        return {}
    features = _object(_object(_object(hub).get("info")).get("features"))
    return {name: _object(feature) for name, feature in features.items()}


def _object(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def _class_names(feature: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the class names in the description of a column; None if it has no list of texts."""
    names = feature.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return None
    return tuple(names)


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
    if len(set(candidates)) == 1:
        return _unique(path, schema, candidates[0])
    if candidates:
        raise DataError(
            f"{path}: any of the columns {', '.join(candidates)} may hold {role.holds}; name the "
            f"right one with the option {role.option}"
        )
    types = ", ".join(f"{column.name} ({column.type})" for column in schema) or "there are none"
    raise DataError(f"{path}: none of the columns holds {role.holds}: {types}; {role.repair}")


def _checked(path: Path, schema: Any, role: _Role, chosen: str) -> str:
    if chosen not in schema.names:
        raise DataError(
            f"{path}: {role.option} is {chosen!r}, but the columns are {', '.join(schema.names)}; "
            f"{did_you_mean(chosen, schema.names)}name one of them"
        )
    kind = schema.field(_unique(path, schema, chosen)).type
    if not role.fits(kind):
        raise DataError(
            f"{path}: {role.option} is {chosen!r}, which holds {kind} instead of {role.holds}; "
            f"name another column, or {role.repair}"
        )
    return chosen
