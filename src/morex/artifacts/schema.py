"""The base of everything that is kept as JSON: one definition, for its writer and its readers."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

LONGEST_NAME = 120
"""How many bytes the name of a recipe or of a model may have: it becomes the name of a folder."""


def _one_folder(name: str) -> str:
    if name in ("", ".", "..") or any(c in "/\\" or not c.isprintable() for c in name):
        raise ValueError(f"expected the name of one folder, got {name!r}")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"expected at most {LONGEST_NAME} bytes, got {len(name.encode())}")
    return name


FolderName = Annotated[str, AfterValidator(_one_folder)]
"""The name of one folder, not a path."""


def _inside(path: str) -> str:
    for part in path.split("/"):
        _one_folder(part)
    return path


InsidePath = Annotated[str, AfterValidator(_inside)]
"""A relative path that stays in its folder."""


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
