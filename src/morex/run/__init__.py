"""Runs: the stages of a recipe, done once, in a directory that survives interruption."""

from morex.run.build import Workshop
from morex.run.execute import Silence, Watcher, run
from morex.run.planning import Estimate, estimate
from morex.run.stages import Stage
from morex.run.store import RunError

__all__ = ["Estimate", "RunError", "Silence", "Stage", "Watcher", "Workshop", "estimate", "run"]
