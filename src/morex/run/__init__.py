"""Runs: the stages of a recipe, done once, in a directory that survives interruption."""

from morex.run.builder import Builder
from morex.run.cores import default_jobs
from morex.run.costs import Estimate, estimate
from morex.run.events import (
    Event,
    Finished,
    Measured,
    Noticed,
    Observer,
    Planned,
    Progressed,
    Skipped,
    Started,
    ignore,
)
from morex.run.execute import run
from morex.run.stages import Stage
from morex.run.store import RunError

__all__ = [
    "Builder",
    "Estimate",
    "Event",
    "Finished",
    "Measured",
    "Noticed",
    "Observer",
    "Planned",
    "Progressed",
    "RunError",
    "Skipped",
    "Stage",
    "Started",
    "default_jobs",
    "estimate",
    "ignore",
    "run",
]
