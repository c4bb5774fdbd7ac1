"""A run: every stage is done once, and again only if something that decides it has changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from morex.artifacts import labels
from morex.artifacts.records import StageRecord
from morex.core.determinism import deterministic
from morex.core.files import digest_of_all
from morex.core.precision import default_device
from morex.core.threads import threads
from morex.core.units import listed
from morex.evaluation.batches import Part
from morex.models.folder import WEIGHTS
from morex.recipe import Recipe
from morex.recipe.lineage import unused_models
from morex.recipe.models import SavedModel
from morex.recipe.signed import signed_yaml
from morex.run.cores import default_jobs
from morex.run.costs import stage_work
from morex.run.data_lines import data_lines, not_tested
from morex.run.directory import RunDirectory
from morex.run.events import Loaded, Noticed, Observer, Planned, Skipped, ignore
from morex.run.failures import trace_of
from morex.run.inputs import forms_read, inputs_of
from morex.run.journal import Journal
from morex.run.launched import Group
from morex.run.parts import PartsTogether, chain_work, most_parts, wanted_parts
from morex.run.processes import InProcesses
from morex.run.ray_pool import on_ray
from morex.run.results import ResultsFiles, test_labels
from morex.run.stage_runner import StageRunner, Task
from morex.run.stages import Stage, folder_made_by
from morex.run.storage import check_reached, opened
from morex.run.together import Together
from morex.run.workers import InThisProcess, Workers


def run(
    recipe: Recipe,
    out: Path | str,
    *,
    device: torch.device | None = None,
    observer: Observer = ignore,
    checkpoint_every: float = 30.0,
    jobs: int | None = None,
    ray: str | None = None,
    group: Group | None = None,
) -> None:
    """Do the stages of ``recipe`` that are not finished yet in the run directory ``out``.

    It may be killed at any moment: the same call resumes the run, which ends with the same bits.

    Args:
        recipe: what to do.
        out: the run directory, made if it does not exist; or, as text, a URL that fsspec knows,
            such as ``s3://bucket/runs/digits``. Stages then work in a local copy in the user's
            cache folder (``MOREX_COPIES``), which is kept like the store.
        device: a GPU if there is one, by default.
        observer: receives every event of the run, such as a stage that is finished; by default
            they are ignored.
        checkpoint_every: seconds between two checkpoints of a training.
        jobs: the number of stages to do at a time, each in a separate process if there are
            several; by default ``default_jobs``. It does not change results.
        ray: the address of a Ray cluster that does the stages, such as ``10.0.0.1:6379``; ``auto``
            for the one that this machine belongs to, ``local`` for one that is started here. The
            run directory must be on storage that all its machines reach. ``jobs`` is then the most
            stages at a time; by default as many as the cluster has room for.
        group: processes that train each model together, of which this is the first.

    Raises:
        RunError: if another process works in ``out``, or a stage fails; the traceback is in the
            file ``errors.log`` of the run.
        DataError: if the data is missing or wrong.
        ModelError, ForeignModelError: if a model that was trained elsewhere does not fit.
        NotFiniteError: if a training diverges; finished stages and its checkpoint stay.
        ValueError: if ``jobs`` is below 1, or it or ``ray`` is given with a group.
        ImportError: if ``ray`` is given and Ray is not installed, or the library for a URL or an
            attack is not.
        StorageError: if the store of a URL cannot be reached.
    """
    device = device or default_device()
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if group and not (jobs is None and ray is None):
        raise ValueError(
            "--jobs and --ray are for stages side by side, but torchrun or srun has started "
            f"{group.world.size} processes, which do one stage at a time together; leave them out"
        )
    check_reached(out, ray)
    settings = deterministic(recipe.deterministic, device)
    with (
        opened(out, observer) as (directory, watch),
        threads(recipe.threads),
        settings,
        _logged(directory),
    ):
        journal = Journal(recipe.name, directory.root, watch)
        together = PartsTogether(journal)
        runner = StageRunner.open(recipe, directory.root, device, together, checkpoint_every)
        with _workers(runner, jobs, ray, group) as workers:
            _Execution(runner, workers).do_all()
        journal.remove()
        directory.tidy()


def _workers(
    runner: StageRunner, jobs: int | None, ray: str | None, group: Group | None
) -> Workers:
    """Return what does the stages."""
    if group:
        return Together(replace(runner, world=group.world), group)
    if ray is not None:
        return on_ray(runner, ray, jobs)
    count = jobs or default_jobs(runner.recipe, runner.builder.device)
    return InThisProcess(runner) if count == 1 else InProcesses(runner, count)


@contextmanager
def _logged(directory: RunDirectory) -> Iterator[None]:
    """Keep the traceback of an error in the block."""
    try:
        yield
    except Exception as error:
        directory.log(f"{datetime.now(UTC).isoformat(timespec='seconds')} {trace_of(error)}")
        raise


@dataclass
class _InParts:
    """An evaluation in parts: the task that follows them, and how many are not finished."""

    whole: Task
    parts: int


@dataclass
class _Execution:
    """A run in progress: which stages are finished, and which can begin.

    ``chain_work`` is, for each stage, the work of the longest chain of stages that begins with it.
    ``queue`` has the parts of evaluations, and evaluations whose parts are finished.
    """

    runner: StageRunner
    workers: Workers
    stages: dict[str, Stage] = field(init=False)
    results: ResultsFiles = field(init=False)
    work: dict[str, float] = field(init=False)
    chain_work: dict[str, float] = field(init=False)
    waiting: dict[str, Stage] = field(default_factory=dict)
    queue: list[Task] = field(default_factory=list)
    in_parts: dict[str, _InParts] = field(default_factory=dict)
    in_progress: int = 0
    records: dict[str, StageRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Plan the stages."""
        self.stages = self.runner.builder.stages
        self.results = ResultsFiles(self.runner.builder, tuple(self.stages.values()))

    def do_all(self) -> None:
        """Do all stages; write the results before the first and after each of them."""
        self._describe_data()
        self.work = {name: stage_work(self.runner.builder, s) for name, s in self.stages.items()}
        self.chain_work = chain_work([(s.id, s.needs) for s in self.stages.values()], self.work)
        self.runner.observer(Planned(tuple(self.stages.values()), self.work))
        if unused := unused_models(self.runner.builder.recipe):
            names = ", ".join(unused)
            self.runner.observer(Noticed(f"not trained, because no column needs them: {names}"))
        for suite in self.runner.builder.recipe.evaluation.suites:
            if missing := self.runner.builder.attacks(suite).missing:
                self.runner.observer(Noticed(f"{suite} also attacks {listed(missing)}: none here"))
        self.waiting = self._skip_finished()
        self._check_parts()
        self._write_summaries()
        while self.waiting or self.queue or self.workers.busy:
            while self.workers.free and self._begin_next():
                pass
            for stage_id, record in self.workers.wait():
                self._add(stage_id, record)

    def _describe_data(self) -> None:
        builder = self.runner.builder
        self.runner.observer(Loaded(tuple(data_lines(builder))))
        if untested := not_tested(builder):
            self.runner.observer(Noticed(untested))

    def _write_summaries(self) -> None:
        """Write what describes the run: nothing that an earlier recipe left may pass for it."""
        directory, builder = self.runner.directory, self.runner.builder
        self.results.write(directory, self.records)
        directory.write(labels.FILE, test_labels(builder).to_bytes(indent=None))
        text = signed_yaml(builder.recipe.model_dump(mode="json"))
        directory.write("recipe.yaml", text.encode())

    def _skip_finished(self) -> dict[str, Stage]:
        """Skip all stages that are finished, so that results contain them; return the others."""
        directory, waiting = self.runner.directory, dict[str, Stage]()
        for stage in self.stages.values():
            if self._ready(stage) and (record := self._finished(stage)):
                self._skip(stage, record)
            else:
                waiting[stage.id] = stage
        directory.damaged.clear()  # reported when the stage is done again
        return waiting

    def _check_parts(self) -> None:
        """Raise before the first training if a package is missing, or a model does not fit."""
        builder = self.runner.builder
        for stage in self.waiting.values():
            if stage.kind == "evaluate":
                for row in builder.suite(stage.suite):
                    row.attack.check_installed()
            elif isinstance(spec := builder.recipe.models[stage.model], SavedModel):
                builder.from_elsewhere(spec)

    def _finished(self, stage: Stage) -> StageRecord | None:
        """Return the record of a stage if it is finished and up to date."""
        directory = self.runner.directory
        record = directory.finished(stage, self._key(stage))
        if record and record.reads != forms_read(directory.root, record.reads):
            return None
        return record

    def _ready(self, stage: Stage) -> bool:
        return all(need in self.records for need in stage.needs)

    def _begin_next(self) -> bool:
        """Begin what has the longest chain of work behind it; return whether anything is ready."""
        stage = self._next()
        queued = max(self.queue, key=lambda task: self.chain_work[task.stage.id], default=None)
        if queued and not (stage and self.chain_work[stage.id] > self.chain_work[queued.stage.id]):
            self.queue.remove(queued)
            self._hand_over(queued)
        elif stage:
            del self.waiting[stage.id]
            self._begin(stage)
        return bool(queued or stage)

    def _hand_over(self, task: Task) -> None:
        self.in_progress += 1
        self.workers.begin(task)

    def _next(self) -> Stage | None:
        """Return the stage to begin: the one with the longest chain of work behind it.

        A single worker takes the stages in the order of the table instead.
        """
        ready = (stage for stage in self.waiting.values() if self._ready(stage))
        if self.workers.count == 1:
            return next(ready, None)
        return max(ready, key=lambda s: self.chain_work[s.id], default=None)

    def _begin(self, stage: Stage) -> None:
        """Hand a stage to the workers, unless it is finished and up to date."""
        directory = self.runner.directory
        record = self._finished(stage)  # if what it reads was redone with the same bits
        for damage in directory.damaged:
            self.runner.observer(Noticed(f"{damage}; {stage.id} is done again"))
        directory.damaged.clear()
        if record:
            self._skip(stage, record)
            self.results.write(directory, self.records)
        else:
            self._begin_parts(Task(stage, self._key(stage), self._inputs(stage)))

    def _begin_parts(self, task: Task) -> None:
        """Hand a stage to the workers; first cut an evaluation into parts if that saves time."""
        parts = self._parts(task.stage)
        if parts == 1:
            self._hand_over(task)
            return
        self.runner.work_folder(task)  # before several processes make it
        self.in_parts[task.stage.id] = _InParts(task, parts)
        self.queue += [replace(task, part=Part(i, parts)) for i in range(1, parts + 1)]

    def _parts(self, stage: Stage) -> int:
        if self.workers.count == 1 or stage.kind != "evaluate":
            return 1
        ready = 1 + sum(map(self._ready, self.waiting.values())) + len(self.queue)
        idle = self.workers.count - self.in_progress
        work, all_work = self.work[stage.id], sum(self.work.values())
        wanted = wanted_parts(work, all_work, self.workers.count, idle, ready)
        return min(wanted, most_parts(self.runner.builder, stage)) if wanted > 1 else 1

    def _key(self, stage: Stage) -> str:
        return stage.key({need: self._output_digest(need) for need in stage.needs})

    def _inputs(self, stage: Stage) -> dict[str, str]:
        """Return what the stage is to read: what decided its key."""
        weights = {need: digest_of_all([self._output_digest(need)]) for need in stage.needs}
        read = {f"{folder_made_by(n)}/{WEIGHTS}": digest for n, digest in weights.items()}
        return inputs_of(self.runner.builder, stage) | read

    def _skip(self, stage: Stage, record: StageRecord) -> None:
        self.runner.observer(Skipped(stage))
        self.records[stage.id] = record

    def _output_digest(self, stage_id: str) -> str:
        """Return the checksum of the file of a finished stage that other stages read."""
        return self.records[stage_id].files[self.stages[stage_id].output]

    def _add(self, stage_id: str, record: StageRecord | None) -> None:
        """Remember a finished stage and write the results that are known now.

        Once all parts of an evaluation are finished, it takes what they have found.
        """
        self.in_progress -= 1
        if record is None:
            remaining = self.in_parts[stage_id]
            remaining.parts -= 1
            if not remaining.parts:
                self.queue.append(remaining.whole)
            return
        self.records[stage_id] = record
        self.results.write(self.runner.directory, self.records)
