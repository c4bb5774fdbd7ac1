"""Which fields of a section of a recipe go into the key of a stage that they decide."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

from pydantic import BaseModel

from morex.training.config import TrainingConfig


class InKey(Enum):
    """Annotates a field of a section; fields without it are always in the key."""

    NEVER = "something else in the key stands for it"
    IF_CHANGED = "only where it differs from its default"
    """For fields that came later: the keys of runs that finished before stay as they were."""


@dataclass(frozen=True)
class AlwaysInKey:
    """Annotates a field that holds a section: these fields of the section are in the key anyway."""

    names: tuple[str, ...]


def key_part(section: BaseModel, always: Collection[str] = ()) -> dict[str, Any]:
    """Return what a section adds to the key of a stage, as JSON values.

    Args:
        section: a section of a recipe, whose fields may be annotated with ``InKey``.
        always: the fields that are in the key whatever their annotation is.
    """
    part = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        changed = value != field.get_default(call_default_factory=True)
        left_out = InKey.NEVER in field.metadata or (
            InKey.IF_CHANGED in field.metadata and not changed
        )
        if left_out and name not in always:
            del part[name]
        elif isinstance(value, BaseModel):
            kept = (mark.names for mark in field.metadata if isinstance(mark, AlwaysInKey))
            part[name] = key_part(value, always=next(kept, ()))
    return part


_CAME_LATER = ("nesterov", "label_smoothing", "gradient_projection", "awp")
"""Fields of a training that are in the key only where they differ from their default."""


def as_json(config: TrainingConfig) -> Any:
    """Return what the settings of a training add to the key of a stage, as JSON values."""
    part = json.loads(json.dumps(asdict(config)))
    for field in fields(config):
        if field.name in _CAME_LATER and part[field.name] == field.default:
            del part[field.name]
    return part
