"""Runs that are killed with SIGKILL, for real, and have to end with the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import changed, raw_recipe, results_of

SLEEPS = random.Random(0)

_SERVER = """
import os
import sys
import torch
from morex.recipe import load_recipe
from morex.run import Noticed, Progressed, Started, run
from morex.run.checkpoint import FileCheckpoint

def say(*words):
    print(*words, flush=True)

def tell(event):
    match event:
        case Started(stage):
            say("starts", stage.id, 0)
        case Progressed(stage, share) if stage.kind == "evaluate":
            say("row", stage.id, round(share * 5))
        case Noticed(text):
            say("notice", text)

class TalkingCheckpoint(FileCheckpoint):
    def stage(self):
        return self.path.parent.name.rpartition("-")[0]

    def save(self, snapshot):
        super().save(snapshot)
        say("saved", self.stage(), snapshot.values["step"])

    def load(self):
        snapshot = super().load()
        say("loaded", self.stage(), snapshot.values["step"] if snapshot else 0)
        return snapshot

import morex.run.stage_runner
morex.run.stage_runner.FileCheckpoint = TalkingCheckpoint
torch.set_num_threads(1)

def work(out, jobs):
    run(load_recipe(sys.argv[1]), out, device=torch.device("cpu"), observer=tell,
        checkpoint_every=0, jobs=int(jobs))

# Importing takes longer than the runs, so every run is a separate process, forked from this one.
while out := sys.stdin.readline().strip():
    if process := os.fork():
        say("process", "began", process)
        say("process", "ended", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    else:
        work(*out.split())
        os._exit(0)
"""


@dataclass(frozen=True)
class Moment:
    """When to kill a run: after a word of a stage, once ``file`` exists, and how much later."""

    word: str
    stage: str
    count: int = 0
    within: float = 0.02
    file: str = ""

    def wait(self, run: Path) -> None:
        """Wait for the file, if it is given, and a random time."""
        while self.file and not [*run.glob(self.file)]:
            time.sleep(0.001)
        time.sleep(SLEEPS.uniform(0, self.within))


MOMENTS = (
    Moment("starts", "train-clean", within=0.2),
    Moment("saved", "train-minf", 2),
    Moment("saved", "train-minf", 7),  # a second time in the same training
    Moment("saved", "train-mfog", 4),  # AdamW, from the weights of another model
    Moment("saved", "gate-more", 2),
    Moment("saved", "train-more", 3),
    Moment("row", "evaluate-more", 2),
)


def recipe() -> dict[str, Any]:
    raw = raw_recipe("clean", "Minf", "Mfog", "MoRE")
    raw = changed(raw, "training.epochs", 4)
    raw = changed(raw, "models.Mfog.training.epochs", 3)
    raw = changed(raw, "models.MoRE.gate_warmup.epochs", 3)
    raw = changed(raw, "models.MoRE.training.epochs", 3)
    return changed(raw, "columns", ["MoRE", "Mfog"])


Heard = tuple[str, str, int]


class Server:
    """A process that forks processes, which run a recipe and report what they do."""

    def __init__(self, recipe: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(recipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def run(self, out: Path, kill: Moment | None = None, jobs: int = 1) -> list[Heard]:
        """Run in ``out``, kill the run at a moment if one is given, and return what it reported."""
        heard: list[Heard] = []
        assert self.process.stdin
        self.process.stdin.write(f"{out} {jobs}\n")
        self.process.stdin.flush()
        for word, stage, count in self._reports():
            heard.append((word, stage, count))
            if (word, stage) == ("process", "began"):
                process = count
            elif (word, stage) == ("process", "ended"):
                break
            elif kill and (word, stage) == (kill.word, kill.stage) and count >= kill.count:
                kill.wait(out)
                os.kill(process, signal.SIGKILL)
                kill = None
        assert kill is None, f"ended before {kill}: {heard}"
        return heard

    def _reports(self) -> Iterator[Heard]:
        assert self.process.stdout
        for line in self.process.stdout:
            word, stage, count = line.split()
            assert word != "notice", line  # a kill damages nothing
            yield word, stage, int(count)


def resumed(heard: list[Heard]) -> dict[str, int]:
    """Return the step at which each training resumed; check that it went on with the next one."""
    steps = {stage: count for word, stage, count in heard if word == "loaded" and count}
    for stage, step in steps.items():
        first = [count for word, s, count in heard if (word, s) == ("saved", stage)][:1]
        assert first in ([step + 1], [])  # no step is repeated
    return steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(), sort_keys=False))
    server = Server(file)
    with server.process:
        yield server


@pytest.fixture(scope="module")
def whole(server: Server, folder: Path) -> Path:
    """An uninterrupted run."""
    assert server.run(folder / "whole")[-1] == ("process", "ended", 0)
    return folder / "whole"


Killed = tuple[Path, list[dict[str, int]]]


@pytest.fixture(scope="module")
def killed(server: Server, folder: Path, whole: Path) -> Killed:
    """A run that was killed at every moment, and the trainings that each process resumed."""
    run = folder / "killed"
    heard = [server.run(run, moment) for moment in MOMENTS]
    assert all(words[-1] == ("process", "ended", -signal.SIGKILL) for words in heard)
    heard.append(server.run(run))
    assert heard[-1][-1] == ("process", "ended", 0)
    rows = [count for word, stage, count in heard[-1] if (word, stage) == ("row", "evaluate-more")]
    assert rows[0] >= 2  # it resumes after the rows that were kept
    return run, [resumed(words) for words in heard]


def assert_same_bits(run: Path, whole: Path) -> None:
    expected, found = results_of(whole), results_of(run)
    assert len(expected) == 4 + 1 + 2  # models, a gate, outcomes
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name], name


def assert_same_files(run: Path, whole: Path) -> None:
    def files(run: Path) -> set[str]:
        return {str(path.relative_to(run)) for path in run.rglob("*")}

    assert files(run) == files(whole)


def test_a_killed_run_ends_with_the_same_bits(killed: Killed, whole: Path) -> None:
    assert_same_bits(killed[0], whole)


def test_a_killed_run_leaves_no_debris(killed: Killed, whole: Path) -> None:
    assert_same_files(killed[0], whole)


def test_every_killed_training_resumes_from_its_checkpoint(killed: Killed) -> None:
    _, resumptions = killed
    for moment, following in zip(MOMENTS, resumptions[1:], strict=True):
        if moment.word == "saved":
            assert following[moment.stage] >= moment.count
    assert resumptions[2]["train-minf"] < resumptions[3]["train-minf"] < 12


def test_a_run_of_several_processes_is_killed_as_a_whole(
    server: Server, folder: Path, whole: Path
) -> None:
    run = folder / "side-by-side"
    moment = Moment("starts", "train-minf", file="work/train-minf-*/checkpoint")
    assert server.run(run, moment, jobs=2)[-1] == ("process", "ended", -signal.SIGKILL)
    # without a pause: the processes of the killed run must have stopped writing
    heard = server.run(run)
    assert heard[-1] == ("process", "ended", 0)
    assert resumed(heard)["train-minf"] > 0
    assert_same_bits(run, whole)
    assert_same_files(run, whole)
