"""Runs on a real Ray cluster of this machine, whose workers and whose head are killed."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tiny import changed, raw_recipe, results_of

from morex.core.threads import threads
from morex.recipe import Recipe, parse_recipe
from morex.run import Noticed, RunError, run

pytest.importorskip("ray", reason="Ray is not installed: pip install 'morex[ray]'")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc"),
]
EVERY = 0.1
"""Seconds between two checkpoints."""


def recipe() -> Recipe:
    raw = changed(raw_recipe("clean"), "threads", 1)
    raw = changed(raw, "training.epochs", 15)
    raw = changed(raw, "evaluation.rows.rays-linf.queries", 150)
    return parse_recipe(changed(raw, "evaluation.batch_size", 2))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of the recipe without Ray."""
    out = tmp_path_factory.mktemp("here") / "run"
    with threads(1):
        run(recipe(), out, jobs=1)
    return results_of(out)


def descendants() -> Iterator[tuple[int, str]]:
    """Yield the processes that this one started, and those that they did, with their commands."""
    parents, commands = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            commands[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
            state = (path / "stat").read_text().rpartition(")")[2].split()
            parents[int(path.name)] = int(state[1])
    for pid in parents:
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() and pid != above:
            yield pid, commands[pid]


def kill(*parts: str) -> None:
    """Kill the processes whose command has one of these parts in it."""
    for pid, command in descendants():
        if any(part in command for part in parts):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def killing(victims: dict[Path, tuple[str, ...]]) -> Iterator[list[Path]]:
    """Kill processes once a file is there; yield the list of the files that appeared."""
    ended, seen = threading.Event(), list[Path]()

    def watch() -> None:
        while not ended.wait(0.01):
            for place, parts in victims.items():
                if place not in seen and [*place.parent.parent.glob("/".join(place.parts[-2:]))]:
                    seen.append(place)
                    kill(*parts)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def test_workers_that_are_killed_change_no_bit(tmp_path: Path, expected: dict[str, bytes]) -> None:
    notices, handlers = list[str](), set[Any]()

    def observer(event: Any) -> None:
        if isinstance(event, Noticed):
            notices.append(event.text)
        handlers.add(signal.getsignal(signal.SIGTERM))

    victims = {  # the process that does the stage, and the actor that started it
        tmp_path / "work" / "train-clean-*" / "checkpoint": ("stage_process",),
        tmp_path / "work" / "evaluate-clean-*" / "rows.npz": ("ray::Host",),
    }
    with killing(victims) as seen:
        run(recipe(), tmp_path, ray="local", jobs=1, checkpoint_every=EVERY, observer=observer)
    assert seen == [*victims]
    assert "train-clean: its process was killed by SIGKILL" in notices[0]
    assert "evaluate-clean: its worker ended unexpectedly" in notices[1]
    assert results_of(tmp_path) == expected
    assert handlers == {signal.getsignal(signal.SIGTERM)}  # a scheduler's signal is still ours
    assert not [*descendants()]


def test_a_head_that_dies_ends_the_run_and_the_run_goes_on_without_it(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    checkpoint = tmp_path / "work" / "train-clean-*" / "checkpoint"
    with (
        killing({checkpoint: ("gcs_server", "raylet/raylet")}),
        pytest.raises(RunError, match=r"the Ray cluster local has ended; .* same command goes on"),
    ):
        run(recipe(), tmp_path, ray="local", jobs=1, checkpoint_every=EVERY)
    assert not (tmp_path / "outcomes").exists()
    run(recipe(), tmp_path, jobs=1)
    assert results_of(tmp_path) == expected


HAIL = """
from dataclasses import dataclass
import threading
from morex.perturbations import Transform

class Broken(Exception):
    def __init__(self): super().__init__("it holds a lock"); self.lock = threading.Lock()

@dataclass(frozen=True)
class Mine(Transform):
    name = "mine"
    def scaled(self, factor): return self
    def __call__(self, x, *, generator):
        if len(x) > 20: raise Broken
        return x
"""


def test_an_error_that_cannot_be_pickled_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HAIL)
    raw = changed(raw_recipe("clean"), "perturbations.own.kind", f"{tmp_path / 'mine.py'}:Mine")
    raw = changed(raw, "models.clean.against", "own")
    with pytest.raises(RunError, match="train-clean failed: Broken: it holds a lock") as caught:
        run(parse_recipe(raw), tmp_path / "run", ray="local", jobs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:1", "nobody listens there"), ("here", "expected an address such as")],
)
def test_a_cluster_that_is_not_there_is_one_sentence(
    address: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=rf"no Ray cluster at {address} \({why}.*ray start --head"):
        run(recipe(), tmp_path, ray=address)
