"""Where figures come from."""

from typing import Any

from pydantic import Field

from morex.artifacts.schema import Schema


class Provenance(Schema):
    """What a reader needs to repeat a result.

    Attributes:
        versions: of Python, morex and the libraries that decide results.
        hardware: the processor, its cores, the threads used, and the GPU if there is one.
        commit: the git commit of morex, with ``+`` if it was changed; None if morex is installed
            as a package.
        command: the command line.
    """

    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    commit: str | None = None
    command: str | None = None
