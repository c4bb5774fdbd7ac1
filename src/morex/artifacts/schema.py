"""The base of everything that is kept as JSON: one definition, for its writer and its readers."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Schema(BaseModel):
    """A JSON object of a known form.

    Unknown keys are ignored, so that an older version reads what a newer one has added to a file.
    Fields with a default may be missing in files of older versions.
    """

    model_config = ConfigDict(frozen=True)

    def content(self) -> dict[str, Any]:
        """Return the fields that were given, as JSON values."""
        return self.model_dump(exclude_unset=True)

    def to_bytes(self, indent: int | None = 1) -> bytes:
        """Return the fields that were given, as JSON."""
        return json.dumps(self.content(), indent=indent).encode()


def problems(error: ValidationError) -> str:
    """Return what does not fit a schema, and where."""
    places = (".".join(map(str, e["loc"])) or "it" for e in error.errors())
    return "; ".join(
        f"{place}: {e['msg']}" for place, e in zip(places, error.errors(), strict=True)
    )
