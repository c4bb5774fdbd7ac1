"""Runs: the stages of a recipe, done once, in a directory that survives interruption."""

from morex.run.builder import Workshop
from morex.run.cores import default_jobs
from morex.run.costs import Estimate, estimate
from morex.run.execute import run
from morex.run.progress import Silence, Watcher
from morex.run.stages import Stage
from morex.run.store import RunError

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
