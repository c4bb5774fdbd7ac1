"""Kill random workers of a Ray cluster on this machine, and compare the runs with one without Ray.

usage: python scripts/cluster_kills.py [--kills 20] [--seed 0] [--out results/faults-cluster.md]

Needs Ray (``pip install 'morex[ray]'``), Linux, 3 GB of memory, and about 10 minutes on two cores.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from morex.artifacts.outcomes import Outcomes
from morex.recipe import Recipe, load_recipe, parse_recipe
from morex.run import Event, Finished, Noticed, RunError, Started, run
from morex.run.provenance import provenance

_SMALL = (
    "name=kills",
    "threads=1",
    "network={architecture: resnet10, width: 4}",
    "data.train_examples=200",
    "training.epochs=12",
    "columns=[clean, Minf]",
    "report=null",
    "evaluation.examples=40",
    "evaluation.batch_size=4",
)
_ROW = (*_SMALL, "columns=[clean]", "evaluation.examples=160", "evaluation.batch_size=8")
_WORKER = ("morex.run.stage_process", "ray::Host")
_EVERY = 0.2
_SPAN = 12.0
"""Seconds after the first stage has begun in which workers are killed."""


def main() -> None:
    """Run the campaign and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/faults-cluster.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster() as address:
        kills = _kills(Path(folder), address, arguments.kills, random.Random(arguments.seed))
        parts = _parts(Path(folder), address)
    text = _page(kills, parts, arguments.seed)
    arguments.out.write_text(text)
    print(text)
    if not all(one.right for one in [*kills, parts]):
        sys.exit(1)


@dataclass
class Trial:
    """One run on the cluster, and what happened to its workers."""

    killed: list[str] = field(default_factory=list)
    replaced: int = 0
    seconds: float = 0.0
    error: str = ""
    right: bool = False


def _kills(folder: Path, address: str, wanted: int, draws: random.Random) -> list[Trial]:
    """Repeat a small run, with one to three kills at random moments, until there are enough."""
    recipe = load_recipe("digits", _SMALL)
    run(recipe, folder / "expected", jobs=1)
    trials: list[Trial] = []
    while sum(len(trial.killed) for trial in trials) < wanted:
        times = sorted(draws.uniform(0.0, _SPAN) for _ in range(draws.randint(1, 3)))
        out = folder / f"run-{len(trials)}"
        trial = _trial(recipe, out, address, times, draws, jobs=2)
        trial.right = not trial.error and _contents(out) == _contents(folder / "expected")
        trials.append(trial)
        print(trial, flush=True)
    return trials


def _trial(
    recipe: Recipe, out: Path, address: str, times: list[float], draws: random.Random, jobs: int
) -> Trial:
    """Do a run; ``times`` are the seconds of the kills after the first stage has begun."""
    trial, begun, ended = Trial(), threading.Event(), threading.Event()

    def observer(event: Event) -> None:
        if isinstance(event, Started):
            begun.set()
        trial.replaced += isinstance(event, Noticed) and "another worker goes on" in event.text

    def kill() -> None:
        begun.wait()
        started = time.monotonic()
        for moment in times:
            if ended.wait(max(0.0, moment - (time.monotonic() - started))):
                return
            if victims := sorted(_workers()):
                pid, what = draws.choice(victims)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    trial.killed.append(what)

    killer = threading.Thread(target=kill)
    killer.start()
    started = time.monotonic()
    try:
        run(recipe, out, ray=address, jobs=jobs, checkpoint_every=_EVERY, observer=observer)
    except RunError as error:
        trial.error = str(error)
    finally:
        ended.set()
        begun.set()
        killer.join()
    trial.seconds = time.monotonic() - started
    return trial


def _parts(folder: Path, address: str) -> Trial:
    """Do an evaluation of one row in four parts, two of which are killed."""
    raw = load_recipe("digits", _ROW).model_dump(mode="json")
    row = raw["evaluation"]["rows"]["rays-linf"]
    raw["evaluation"]["rows"] = {"rays-linf": row | {"queries": 1000, "examples": None}}
    recipe = parse_recipe(raw)
    run(recipe, folder / "whole", jobs=1)
    out, trial = folder / "parts", Trial()
    ended = threading.Event()

    def observer(event: Event) -> None:
        trial.replaced += isinstance(event, Noticed) and ", part" in event.text
        if isinstance(event, Finished) and event.stage.kind == "evaluate":
            ended.set()

    def kill() -> None:
        while not ended.wait(0.02) and len(trial.killed) < 2:
            if len([*out.glob("work/evaluate-*/part-*of4.npz")]) > len(trial.killed):
                victims = [v for v in _workers() if v[1] == _WORKER[0]]
                os.kill(victims[len(trial.killed)][0], signal.SIGKILL)
                trial.killed.append(_WORKER[0])
                time.sleep(0.3)

    killer = threading.Thread(target=kill)
    killer.start()
    started = time.monotonic()
    try:
        run(recipe, out, ray=address, jobs=4, checkpoint_every=0.0, observer=observer)
    finally:
        ended.set()
        killer.join()
    trial.seconds = time.monotonic() - started
    name = next((out / "outcomes").glob("*.npz")).name
    whole, found = (Outcomes.load(f / "outcomes" / name) for f in (folder / "whole", out))
    trial.right = len(trial.killed) == 2 and all(
        np.array_equal(whole.right[row], found.right[row]) for row in whole.rows
    )
    return trial


def _contents(out: Path) -> dict[str, bytes]:
    files = [*out.glob("models/**/model.safetensors"), *out.glob("outcomes/*.npz")]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


@contextmanager
def cluster() -> Iterator[str]:
    """Start a cluster of this machine with four CPUs; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "start", "--head", "--block", "--num-cpus=4", f"--port={port}"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    command += ["--object-store-memory=80000000"]  # stages share files only
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    head = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        assert head.stdout
        if not any("Ray runtime started" in line for line in head.stdout):
            sys.exit("error: ray start did not start a cluster")
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait()


def _workers() -> list[tuple[int, str]]:
    """Return the processes of workers that this one started, and what they are."""
    parents, commands = dict[int, int](), dict[int, str]()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            commands[int(path.name)] = (path / "cmdline").read_text()
            state = (path / "stat").read_text().rpartition(")")[2].split()
            parents[int(path.name)] = int(state[1])
    found = []
    for pid, command in commands.items():
        above, what = pid, next((w for w in _WORKER if w in command), None)
        while above in parents and above != os.getpid():
            above = parents[above]
        if what and above == os.getpid():
            found.append((pid, what))
    return found


def _page(trials: list[Trial], parts: Trial, seed: int) -> str:
    killed = [what for trial in trials for what in trial.killed]
    made_by = provenance(torch.device("cpu"))
    hardware = ", ".join(f"{key} {value}" for key, value in made_by.hardware.items())
    lines = [
        "# Killed workers of a Ray cluster",
        "",
        f"Made by `python scripts/cluster_kills.py --kills {len(killed)} --seed {seed}` at commit",
        f"{(made_by.commit or 'unknown')[:9]}, Ray {version('ray')}, {hardware}.",
        "",
        "SIGKILL at random moments to random workers of a cluster on one machine, which is reached",
        "by its address. The runs are a reduced digits recipe (two experts and their evaluations)",
        "with two workers. A run is right if all its weights and outcomes have the bytes of a run",
        "without Ray.",
        "",
        "| what | n |",
        "|---|---:|",
        f"| runs | {len(trials)} |",
        f"| workers killed | {len(killed)} |",
        f"| of these: the process that does the stage | {killed.count(_WORKER[0])} |",
        f"| of these: the actor | {killed.count(_WORKER[1])} |",
        f"| stages that another worker went on with | {sum(t.replaced for t in trials)} |",
        f"| runs that ended right | {sum(trial.right for trial in trials)} |",
        "",
        f"A row of 160 images (RayS, 1,000 queries) in four parts: {len(parts.killed)} of the four",
        f"workers were killed, {parts.replaced} parts were continued by others; the outcomes are "
        + ("those of the unsplit row." if parts.right else "**not** those of the unsplit row."),
        "",
        *(f"- a run that failed: {trial.error}" for trial in trials if trial.error),
    ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
