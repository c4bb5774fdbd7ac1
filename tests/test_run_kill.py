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
from morex.run import Silence, run
from morex.run.checkpoint import FileCheckpoint

def say(*words):
    print(*words, flush=True)

class Talking(Silence):
    def starts(self, stage):
        say("starts", stage.id, 0)

    def progress(self, stage, share, text):
        if stage.kind == "evaluate":
            say("row", stage.id, round(share * 5))

    def notice(self, text):
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

import morex.run.bench
morex.run.bench.FileCheckpoint = TalkingCheckpoint
torch.set_num_threads(1)

def work(out):
    run(load_recipe(sys.argv[1]), out, device=torch.device("cpu"), watcher=Talking(),
        checkpoint_every=0)

# Importing takes longer than the runs: every run is a process of its own, but forked from this one.
while out := sys.stdin.readline().strip():
    if process := os.fork():
        say("process", "began", process)
        say("process", "ended", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    else:
        work(out)
        os._exit(0)
"""


@dataclass(frozen=True)
class Moment:
    """After which word of which stage, and how many seconds later, to kill."""

    word: str
    stage: str
    count: int = 0
    within: float = 0.02


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
    """A process that forks processes that run a recipe and say what they do."""

    def __init__(self, recipe: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(recipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def run(self, out: Path, kill: Moment | None = None) -> list[Heard]:
        """Run in ``out``, kill the run at a moment or leave it, and return what it said."""
        heard: list[Heard] = []
        assert self.process.stdin
        self.process.stdin.write(f"{out}\n")
        self.process.stdin.flush()
        for word, stage, count in self._told():
            heard.append((word, stage, count))
            if (word, stage) == ("process", "began"):
                process = count
            elif (word, stage) == ("process", "ended"):
                break
            elif kill and (word, stage) == (kill.word, kill.stage) and count >= kill.count:
                time.sleep(SLEEPS.uniform(0, kill.within))
                os.kill(process, signal.SIGKILL)
                kill = None
        assert kill is None, f"ended before {kill}: {heard}"
        return heard

    def _told(self) -> Iterator[Heard]:
        assert self.process.stdout
        for line in self.process.stdout:
            word, stage, count = line.split()
            assert word != "notice", line  # a kill damages nothing
            yield word, stage, int(count)


def resumed(heard: list[Heard]) -> dict[str, int]:
    """Return the trainings that went on from a checkpoint and their steps; check that they did."""
    steps = {stage: count for word, stage, count in heard if word == "loaded" and count}
    for stage, step in steps.items():
        first = [count for word, s, count in heard if (word, s) == ("saved", stage)][:1]
        assert first in ([step + 1], [])  # not one step is taken twice
    return steps


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[dict[str, int]]]:
    """An uninterrupted run, one that was killed at every moment, and what the latter resumed."""
    folder = tmp_path_factory.mktemp("kill")
    file, whole, killed = folder / "recipe.yaml", folder / "whole", folder / "killed"
    file.write_text(yaml.safe_dump(recipe(), sort_keys=False))
    server = Server(file)
    with server.process:
        expected = server.run(whole)
        heard = [server.run(killed, moment) for moment in MOMENTS]
        heard.append(server.run(killed))
    assert expected[-1] == heard[-1][-1] == ("process", "ended", 0)
    assert all(words[-1] == ("process", "ended", -signal.SIGKILL) for words in heard[:-1])
    rows = [count for word, stage, count in heard[-1] if (word, stage) == ("row", "evaluate-more")]
    assert rows[0] > 2  # rows that were kept are not attacked again
    return whole, killed, [resumed(words) for words in heard]


def test_a_killed_run_ends_with_the_same_bits(
    runs: tuple[Path, Path, list[dict[str, int]]],
) -> None:
    whole, killed, _ = runs
    expected, found = results_of(whole), results_of(killed)
    assert len(expected) == 4 + 1 + 2  # models, a gate, outcomes
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name], name


def test_every_killed_training_goes_on_in_its_middle(
    runs: tuple[Path, Path, list[dict[str, int]]],
) -> None:
    *_, resumptions = runs
    for moment, following in zip(MOMENTS, resumptions[1:], strict=True):
        if moment.word == "saved":
            assert following[moment.stage] >= moment.count
    assert resumptions[2]["train-minf"] < resumptions[3]["train-minf"] < 12


def test_a_killed_run_leaves_no_debris(runs: tuple[Path, Path, list[dict[str, int]]]) -> None:
    whole, killed, _ = runs

    def files(run: Path) -> set[str]:
        return {str(path.relative_to(run)) for path in run.rglob("*")}

    assert files(killed) == files(whole)
