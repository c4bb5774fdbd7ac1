"""Runs on a real Ray cluster of this machine, whose workers and whose head are killed.

The processes are killed by a perturbation, so that no moment depends on the speed of the machine.
Each test has a cluster that is started for its run, with ports that are free. Where Ray cannot
start one, the tests are skipped, unless MOREX_REQUIRE_RAY is set. The test whose head dies comes
first: after it, a process of Ray that starts no other cluster takes a minute to end.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tiny import changed, raw_recipe, results_of

from morex.core.threads import threads
from morex.recipe import Recipe, parse_recipe
from morex.run import Noticed, RunError, run

pytest.importorskip("ray", reason="Ray is not installed: pip install 'morex[ray]'")
pytestmark = [
    pytest.mark.usefixtures("one_thread", "home"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc"),
]

DEADLY = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from morex.perturbations import Transform

HERE = Path("FOLDER")

def processes():
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text().rpartition(")")[2].split()
            yield int(path.name), int(state[1]), (path / "cmdline").read_text()
        except OSError:
            pass

def kill_the_head():
    found = {pid: (parent, command) for pid, parent, command in processes()}
    raylet = found[os.getppid()][0]
    for pid, (parent, command) in found.items():
        same = parent == found[raylet][0] and "gcs_server" in command
        if raylet in (pid, parent) or same:
            os.kill(pid, signal.SIGKILL)

KILLS = {
    "process": ("train", "checkpoint", lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "actor": ("evaluate", "rows.npz", lambda: os.kill(os.getppid(), signal.SIGKILL)),
    "head": ("train", "checkpoint", kill_the_head),
}

@dataclass(frozen=True)
class Deadly(Transform):
    name = "deadly"
    def scaled(self, factor): return self
    def __call__(self, x, *, generator):
        for fate in sorted(HERE.glob("fate-*")):
            kind, file, kill = KILLS[fate.name.split("-")[-1]]
            parent = Path(f"/proc/{os.getppid()}/cmdline").read_text()
            if "ray::Host" in parent and [*HERE.glob(f"run-*/work/{kind}-*/{file}")]:
                fate.unlink()
                (HERE / f"pid-{os.getpid()}").touch()
                kill()
                time.sleep(600)  # this process has to end although nobody kills it
            break
        return x
"""
"""A perturbation that kills a process of Ray once there is something to go on from."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let Ray write its token into a home directory that is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):  # Ray and runs set them
            patch.setenv(name, "")  # so that they are as before when the tests have ended
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs, and of the perturbation that kills."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "deadly.py").write_text(DEADLY.replace("FOLDER", str(folder)))
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    raw = changed(raw_recipe("clean"), "threads", 1)
    raw = changed(raw, "perturbations.own.kind", f"{folder / 'deadly.py'}:Deadly")
    raw = changed(raw, "models.clean.against", "own")
    row = {"attack": "draws", "perturbation": "own"}
    raw["evaluation"]["rows"] = {"own": row} | raw["evaluation"]["rows"]
    return parse_recipe(changed(raw, "evaluation.batch_size", 2))


@pytest.fixture(scope="module")
def expected(recipe: Recipe, folder: Path) -> dict[str, bytes]:
    """The results of the recipe without Ray."""
    with threads(1):
        run(recipe, folder / "expected", jobs=1)
    return results_of(folder / "expected")


def run_on_ray(recipe: Recipe, out: Path, **more: Any) -> None:
    """Do a run on a cluster that is started for it; skip the test where Ray cannot start one."""
    try:
        run(recipe, out, ray="local", jobs=1, checkpoint_every=0, **more)
    except RunError as error:
        if "no Ray cluster at local" in str(error) and not os.environ.get("MOREX_REQUIRE_RAY"):
            pytest.skip(f"{error}; set MOREX_REQUIRE_RAY to make this a failure")
        raise


def descendants() -> set[int]:
    """Return the processes that this one started, and those that they did."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (path / "stat").read_text().rpartition(")")[2].split()
            parents[int(path.name)] = int(state[1])
    found = {os.getpid()}
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return found - {os.getpid()}


@pytest.fixture
def nothing_is_left(folder: Path) -> Iterator[None]:
    """Check that all processes of the test end, those included whose parent was killed."""
    before = descendants()
    yield
    deadline = time.monotonic() + 120
    while left := _left(folder, before):
        assert time.monotonic() < deadline, f"processes still run: {left}"
        time.sleep(0.1)


def _left(folder: Path, before: set[int]) -> set[int]:
    orphans = {int(path.name.split("-")[1]) for path in folder.glob("pid-*")}
    return descendants() - before | {pid for pid in orphans if Path(f"/proc/{pid}").exists()}


@pytest.mark.usefixtures("nothing_is_left")
def test_a_head_that_dies_ends_the_run_and_the_run_goes_on_without_it(
    recipe: Recipe, folder: Path, expected: dict[str, bytes]
) -> None:
    (folder / "fate-1-head").touch()
    out = folder / "run-head"
    with pytest.raises(RunError, match=r"the Ray cluster local has ended; .* same command goes on"):
        run_on_ray(recipe, out)
    assert not (out / "outcomes").exists()
    run(recipe, out, jobs=1)
    assert results_of(out) == expected


@pytest.mark.usefixtures("nothing_is_left")
def test_workers_that_are_killed_change_no_bit(
    recipe: Recipe,
    folder: Path,
    expected: dict[str, bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    notices, handlers = list[str](), {signal.getsignal(signal.SIGTERM)}

    def observer(event: Any) -> None:
        if isinstance(event, Noticed):
            notices.append(event.text)
        handlers.add(signal.getsignal(signal.SIGTERM))

    (folder / "fate-1-process").touch()  # that does the stage
    (folder / "fate-2-actor").touch()  # that started it
    out = folder / "run-workers"
    run_on_ray(recipe, out, observer=observer)
    deaths = [text for text in notices if "another worker goes on with it" in text]
    assert len(deaths) == 2
    assert "train-clean: its process was killed by SIGKILL" in deaths[0]
    assert "evaluate-clean: its worker ended unexpectedly" in deaths[1]
    assert results_of(out) == expected
    assert len(handlers) == 1  # a scheduler's signal is still ours
    assert "raylet" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:1", "nobody listens there"), ("here", "expected an address such as")],
)
def test_a_cluster_that_is_not_there_is_one_sentence(
    address: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=rf"no Ray cluster at {address} \({why}.*ray start --head"):
        run(parse_recipe(raw_recipe("clean")), tmp_path, ray=address)
