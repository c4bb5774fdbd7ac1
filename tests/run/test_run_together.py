"""A run of two processes: its results, and what happens when one of them ends."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import CPU, Spy, changed, raw_recipe
from torch.distributed import FileStore, HashStore

from morex.core.stopping import Stopped, stopped_by_signals
from morex.recipe import Recipe, parse_recipe
from morex.run import RunError, run
from morex.run.checkpoint import FileCheckpoint
from morex.run.directory import RunDirectory
from morex.run.failures import Failure
from morex.run.launched import Group, Place, joined
from morex.run.stage_process import Job
from morex.run.together import help_run
from morex.training import World
from morex.training.state import Snapshot


def recipe() -> Recipe:
    raw = changed(raw_recipe("clean", "Minf"), "models.Minf.warm_start", "clean")
    return parse_recipe(raw | {"threads": 1})


def end_helper(group: Group, number: int) -> None:
    """Send the helper a signal once the training of Minf has written its second checkpoint."""
    keep, written = FileCheckpoint.save, list[Path]()

    def save(checkpoint: FileCheckpoint, snapshot: Snapshot) -> None:
        keep(checkpoint, snapshot)
        written.extend([checkpoint.path] if "train-minf" in str(checkpoint.path) else [])
        if len(written) == 2:
            written.append(checkpoint.path)
            os.kill(group.wait("pid", lambda: False), number)

    FileCheckpoint.save = save  # type: ignore[method-assign]  # in a process of its own


def _process(rank: int, out: Path, number: int | None, found: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    store = FileStore(str(out.with_suffix(".store")), 2)
    with joined(Place(rank, 2, rank), CPU, store) as group:
        if rank:
            group.put("pid", os.getpid())
            found.send(help_run(group, CPU))
            return
        if number is not None:
            end_helper(group, number)
        try:
            with stopped_by_signals():
                run(recipe(), out, device=CPU, checkpoint_every=0, group=group)
            found.send(None)
        except (Stopped, RunError) as error:
            found.send(f"{type(error).__name__}: {error}")


def two(out: Path, number: int | None = None) -> tuple[Any, Any]:
    """Run in two processes; return what the first one says, and the exit code of the second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "morex.run"])
    pipes = [context.Pipe() for _ in range(2)]
    processes = [
        context.Process(target=_process, args=(rank, out, number, pipes[rank][1]))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for _, theirs in pipes:
        theirs.close()
    try:
        said = pipes[0][0].recv()
        processes[1].join(60)
        return said, pipes[1][0].recv() if processes[1].exitcode == 0 else processes[1].exitcode
    finally:
        for process in processes:
            process.join(60)
            process.kill()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("run") / "alone"
    run(recipe(), out, device=CPU, jobs=1)
    return out


def close(one: Path, other: Path) -> bool:
    files = [root / "models" / "minf" / "model.safetensors" for root in (one, other)]
    tensors, others = map(load_file, files)
    return all(torch.allclose(t, others[name], atol=1e-3) for name, t in tensors.items())


def test_a_run_of_two_processes_is_that_of_one(tmp_path: Path, alone: Path) -> None:
    assert two(tmp_path / "two") == (None, 0)
    assert close(tmp_path / "two", alone)
    records = [RunDirectory(root).record("train-minf") for root in (tmp_path / "two", alone)]
    assert records[0].provenance.hardware["processes"] == 2
    assert "processes" not in records[1].provenance.hardware
    spy = Spy()
    run(recipe(), tmp_path / "two", device=CPU, jobs=1, observer=spy)
    assert not spy.started  # one process has nothing left to do


def test_other_ways_to_divide_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--jobs and --ray are for stages side by side"):
        run(recipe(), tmp_path, device=CPU, jobs=2, group=Group(World(0, 2), HashStore()))


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, Place(1, 2, 0)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}, Place(3, 4, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None),
    ],
)
def test_places_of_launchers(variables: dict[str, str], place: Place | None) -> None:
    assert Place.of(variables | {"MASTER_ADDR": "one"}) == place
    assert Place.of(variables) is None


def test_one_process_goes_on_when_another_was_killed(tmp_path: Path, alone: Path) -> None:
    said, code = two(tmp_path / "run", signal.SIGKILL)
    assert said.startswith("StageError: train-minf: another process of the training ended")
    assert code == -signal.SIGKILL
    assert [*(tmp_path / "run" / "work").glob("train-minf-*/checkpoint")]
    run(recipe(), tmp_path / "run", device=CPU, jobs=1)
    assert close(tmp_path / "run", alone)


def test_a_signal_to_any_process_stops_all_with_a_checkpoint(tmp_path: Path) -> None:
    said, code = two(tmp_path / "run", signal.SIGTERM)
    assert (said, code) == ("Stopped: SIGTERM", 2)
    assert [*(tmp_path / "run" / "work").glob("train-minf-*/checkpoint")]


@pytest.mark.parametrize(
    ("ended", "stopped", "code"),
    [(False, False, 2), (False, True, 2), (True, False, 0), (True, True, 2)],
)
def test_a_helper_that_was_stopped_says_so_however_late(
    ended: bool, stopped: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(World(1, 2), HashStore())
    group.put("job", Job({}, tmp_path, CPU, 0, 1, tmp_path, {}, b"", 0))
    failure = Failure("train-minf", "why", None, "", stopped)

    def fail(connection: Any, job: Job, world: World) -> None:
        if ended:
            group.put("end", True)
        connection.send(failure)
        group.put("end", True)

    monkeypatch.setattr("morex.run.together.check_place", lambda job: None)
    monkeypatch.setattr("morex.run.together.do_stages", fail)
    assert help_run(group, CPU) == code
    assert bool(group.failure()) is not ended
