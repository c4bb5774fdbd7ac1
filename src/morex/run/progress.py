"""How a run says how it is going, without printing."""

from collections.abc import Mapping
from typing import Protocol

from morex.run.stages import Stage


class Watcher(Protocol):
    """Is told how a run is going."""

    def begins(self, stages: list[Stage], work: dict[str, float]) -> None:
        """All stages, and the work of each at most, in forward passes of one network."""

    def skips(self, stage: Stage) -> None:
        """The stage is finished and up to date."""

    def starts(self, stage: Stage) -> None:
        """The stage begins, or goes on."""

    def progress(self, stage: Stage, share: float, text: str) -> None:
        """The stage has come so far; ``share`` is in [0, 1]."""

    def measures(self, stage: Stage, step: int, values: Mapping[str, float]) -> None:
        """The training has these values after ``step`` of its updates."""

    def ends(self, stage: Stage, seconds: float, text: str) -> None:
        """The stage is finished."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""


class Silence:
    """A watcher that says nothing."""

    def begins(self, stages: list[Stage], work: dict[str, float]) -> None: ...  # noqa: D102
    def skips(self, stage: Stage) -> None: ...  # noqa: D102
    def starts(self, stage: Stage) -> None: ...  # noqa: D102
    def progress(self, stage: Stage, share: float, text: str) -> None: ...  # noqa: D102
    def measures(self, stage: Stage, step: int, values: Mapping[str, float]) -> None: ...  # noqa: D102
    def ends(self, stage: Stage, seconds: float, text: str) -> None: ...  # noqa: D102
    def notice(self, text: str) -> None: ...  # noqa: D102
