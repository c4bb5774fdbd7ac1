"""How far a run is, read from its files alone, wherever it runs."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from morex.artifacts.progress import FILE, RunProgress, StageProgress
from morex.artifacts.records import StageRecord
from morex.artifacts.results import results_name
from morex.core.file_errors import near_file
from morex.core.files import read_file
from morex.core.units import rough_duration
from morex.report.material import Material, read_material

SILENT = 600.0
"""Seconds without a word after which a run on another machine is called silent."""

_LEAST = 0.005
"""The share of all work that must be done before the time left is estimated."""

_LARGEST = 1e18
"""The largest number that a progress file may have."""

_RESULTS = results_name()
_MARK = ".owner.json"
_ERRORS = "errors.log"

RunState = Literal["starting", "running", "silent", "stopped", "unfinished", "finished"]
"""Where a run is. It is ``unfinished`` if its files do not tell whether somebody works on it."""


@dataclass(frozen=True)
class Watched:
    """A run as its files show it.

    Attributes:
        run: the run directory.
        name: of the recipe; that of the folder if it is not known yet.
        state: where it is.
        heard: seconds since it wrote its progress; None if it has not.
        stages: its stages by id; empty if they are not known.
        left: seconds left, roughly; None if no pace is known.
        material: what the report page would show; None if there are no results yet.
        error: the last line of the log of errors, if the run has stopped.
        notes: files that could not be read.
        read: what was read of the results, and when they were written.
    """

    run: Path
    name: str
    state: RunState
    heard: float | None = None
    stages: Mapping[str, StageProgress] = field(default_factory=dict)
    left: float | None = None
    material: Material | None = None
    error: str = ""
    notes: tuple[str, ...] = ()
    read: "_Read | None" = None

    @property
    def done(self) -> int:
        """How many stages are done."""
        return sum(stage.state == "done" for stage in self.stages.values())

    @property
    def running(self) -> dict[str, StageProgress]:
        """The stages that somebody works on."""
        return {k: s for k, s in self.stages.items() if s.state == "running"}

    @property
    def headline(self) -> str:
        """The state in one line."""
        parts: list[str] = [self.state]
        if self.stages:
            parts.append(f"{self.done} of {len(self.stages)} stages done")
        if self.left is not None and self.state == "running":
            parts.append(f"about {rough_duration(self.left)} left")
        if self.heard is not None and self.state in ("silent", "stopped"):
            parts.append(f"last heard of {rough_duration(self.heard)} ago")
        return ", ".join(parts)


def watch(run: Path, now: float, before: Watched | None = None) -> Watched:
    """Return how far a run is.

    Args:
        run: the run directory.
        now: the time, in seconds since 1970.
        before: how far it was; results that have not changed since are not read again.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is not a run directory.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"{run}: there is no such run directory{near_file(run)}")
    progress, notes = _progress(run)
    read = _results(run, before)
    material, more = read.material, read.notes
    if not (progress or material or more or notes or (run / _MARK).is_file()):
        raise ValueError(
            f"{run} is not a run directory: it has no results.json; give the folder that "
            "morex run --out was given, such as runs/digits"
        )
    heard = _heard(run, progress, now)
    state = _state(progress, material, heard)
    stages = _stages(progress, material)
    return Watched(
        run,
        progress.name if progress else material.file.name if material else run.name,
        state,
        heard,
        stages,
        seconds_left(stages, now - (heard or 0.0), _seconds(run, stages)),
        material,
        _last_error(run) if state in ("stopped", "silent", "unfinished") else "",
        (*notes, *more),
        read,
    )


def seconds_left(
    stages: Mapping[str, StageProgress], now: float, seconds: Mapping[str, float]
) -> float | None:
    """Return the seconds that are left; None while too little is done, or if nothing is left.

    Each kind of stage has a separate pace, in seconds per unit of work. A kind of which nothing is
    done yet has that of all others together. Stages run side by side as now.

    Args:
        stages: all stages.
        now: when they were as they are here.
        seconds: how long stages that are done took, by id.
    """
    spent: dict[str, float] = {}
    worked: dict[str, float] = {}
    for name, stage in stages.items():
        if stage.state == "done" and name in seconds:
            took, share = seconds[name], 1.0
        elif stage.state == "running" and stage.started is not None:
            took, share = max(0.0, now - stage.started), stage.share - (stage.first or 0.0)
        else:
            continue
        spent[stage.kind] = spent.get(stage.kind, 0.0) + took
        worked[stage.kind] = worked.get(stage.kind, 0.0) + stage.work * share
    known = sum(worked.values())
    if known <= _LEAST * sum(stage.work for stage in stages.values()):
        return None
    usual = sum(spent.values()) / known
    paces = {kind: spent[kind] / work for kind, work in worked.items() if work > 0}
    open_ = [stage for stage in stages.values() if stage.state != "done"]
    left = sum(paces.get(s.kind, usual) * s.work * (1.0 - s.share) for s in open_)
    side_by_side = sum(stage.state == "running" for stage in open_)
    return left / max(1, side_by_side) if open_ and isfinite(left) else None


def _progress(run: Path) -> tuple[RunProgress | None, list[str]]:
    """Return the progress that the run wrote, if it can be read."""
    with suppress(OSError, ValidationError):
        found = RunProgress.model_validate_json(read_file(run / FILE))
        if _is_sound(found):
            return found, []
    return None, [f"{run / FILE} cannot be read"] if (run / FILE).exists() else []


def _is_sound(progress: RunProgress) -> bool:
    """Return whether all numbers are finite, and none is absurdly large."""
    numbers: list[float | None] = [progress.started, progress.updated]
    for stage in progress.stages.values():
        numbers += [stage.work, stage.share, stage.first, stage.started, stage.seconds]
    return 0 < progress.pid < 2**31 and all(n is None or abs(n) < _LARGEST for n in numbers)


@dataclass(frozen=True)
class _Read:
    """What was read of a run's results, with the time and size of their file."""

    stamp: tuple[int, int] | None
    material: Material | None
    notes: tuple[str, ...] = ()


def _results(run: Path, before: Watched | None) -> _Read:
    """Return the results of a run, which writes them anew after every stage."""
    stamp = None
    with suppress(OSError):
        found = (run / _RESULTS).stat()
        stamp = (found.st_mtime_ns, found.st_size)
    known = before.read if before else None
    if stamp and known and known.stamp == stamp and not known.notes:
        return known
    try:
        return _Read(stamp, read_material(run))
    except FileNotFoundError:
        return _Read(stamp, None)
    except (ValueError, OSError) as error:
        return _Read(stamp, None, (str(error).splitlines()[0],))


def _heard(run: Path, progress: RunProgress | None, now: float) -> float | None:
    """Return the seconds since the run wrote its progress, by the better of two clocks.

    On a shared folder the clock of the machine that runs may differ from ours, and so may that of
    the file server.
    """
    if progress is None:
        return None
    times = [progress.updated]
    with suppress(OSError):
        times.append((run / FILE).stat().st_mtime)
    return max(0.0, min(now - at for at in times))


def _state(
    progress: RunProgress | None, material: Material | None, heard: float | None
) -> RunState:
    if progress is None:
        if material is None:
            return "starting"
        return "unfinished" if material.file.missing else "finished"
    if progress.host == socket.gethostname():
        return "running" if _lives(progress.pid) else "stopped"
    return "silent" if heard is not None and heard > SILENT else "running"


def _lives(pid: int) -> bool:
    """Return whether there is a process of that number here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is another user's
    return True


def _stages(progress: RunProgress | None, material: Material | None) -> Mapping[str, StageProgress]:
    """Return the stages of a run; of one without progress, those that are done."""
    if progress:
        return progress.stages
    done = material.file.stages if material else {}
    return {
        name: StageProgress(kind=s.kind, model=s.model, state="done", share=1.0, seconds=s.seconds)
        for name, s in done.items()
    }


def _seconds(run: Path, stages: Mapping[str, StageProgress]) -> dict[str, float]:
    """Return how long the stages that are done took, from their records if they were done before.

    A damaged record is left out.
    """
    found = {}
    for name, stage in stages.items():
        if stage.state == "done" and stage.seconds is not None:
            found[name] = stage.seconds
        elif stage.state == "done":
            with suppress(OSError, ValueError):
                path = run / "stages" / f"{name}.json"
                found[name] = StageRecord.model_validate_json(read_file(path)).seconds
    return found


def _last_error(run: Path) -> str:
    """Return the last line of the log of errors; empty if there is none."""
    with suppress(OSError, ValueError):
        lines = read_file(run / _ERRORS).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""
