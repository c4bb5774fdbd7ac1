"""Runs: the stages of a recipe, done once, in a directory that survives interruption.

====================  ======================================================================
``execute``           a whole run: which stages remain, and in which order they begin
``stages``            the stages of a recipe, and what decides the result of each
``stage_runner``      runs one stage and saves its result
``stage_evaluation``  evaluates a saved model, also in parts
``inputs``            what a stage reads that may change meanwhile
``starting``          the model that a stage starts from
``builder``           the data, models, objectives and attacks that a recipe describes
``workers``           where stages are done: in this process, or in others
``processes``         stages side by side in processes of this machine
``cluster``           stages side by side on machines that may fail
``ray_pool``          the machines of a Ray cluster
``together``          one stage at a time in several processes, which train each model together
``launched``          processes that torchrun or srun has started, and their messages
``needs``             the resources of a worker, and the room for workers on a cluster
``stage_process``     a process that does stages for another one
``failures``          what ended a stage or a process, as one sentence
``cores``             how many stages to do at a time, and on which GPUs
``directory``         the files of a run directory
``storage``           a run at a URL, and the local copy that its stages work in
``storage_lock``      who works on a run at a URL
``mirror``            writes a local copy to its store, and reads it from there
``repeated``          something that is done again and again beside a run
``checkpoint``        interrupted trainings
``partial_results``   interrupted evaluations
``parts``             evaluations that several workers share
``continuation``      a new run that continues a finished one
``results``           what a run writes for tables and reports
``events``            what a run reports to its observer
``journal``           writes how far the run is to a file
``data_lines``        the data in words
``costs``             how many images each stage sends through its model
``estimates``         time and memory of each stage, before it runs
``simulation``        the time of a run on several workers, before it runs
``calibration``       the speed of a model on this machine
``forecast``          the speed of a model on a GPU that is not here
``gpu_setup``         compiling and capturing, before the first step on a GPU
``memory``            peak memory of a stage
``provenance``        versions, hardware and commit of a process
====================  ======================================================================
"""

from morex.run.builder import Builder
from morex.run.cores import default_jobs
from morex.run.directory import RunError
from morex.run.estimates import Estimate, estimate
from morex.run.events import (
    Event,
    Finished,
    Loaded,
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

__all__ = [
    "Builder",
    "Estimate",
    "Event",
    "Finished",
    "Loaded",
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
