"""Runs: the stages of a recipe, done once, in a directory that survives interruption."""

from morex.run.build import Workshop
from morex.run.cores import default_jobs
from morex.run.execute import run
from morex.run.planning import Estimate, estimate
from morex.run.stages import Stage
from morex.run.store import RunError
from morex.run.watching import Silence, Watcher

__all__ = [
    "Estimate",
    "RunError",
    "Silence",
    "Stage",
    "Watcher",
    "Workshop",
    "default_jobs",
    "estimate",
    "run",
]
