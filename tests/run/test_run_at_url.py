"""Runs at a URL: killed, gone on with elsewhere, taken over, and read."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import call
from stores import memory_url, quick, s3_url
from tiny import CPU, Spy, changed, raw_recipe, results_of

from morex.artifacts.manifest import Manifest, lock_name, newest_manifest, read_state
from morex.artifacts.stored_runs import copy_for
from morex.core.object_store import ObjectStore, StorageError
from morex.recipe import parse_recipe
from morex.run import Event, Progressed, RunError, run, storage
from morex.run.storage_lock import StoreLock

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = parse_recipe(
    changed(
        changed(
            raw_recipe("clean"),
            "evaluation.rows",
            {"c": {"attack": "draws", "perturbation": "clean"}},
        ),
        "training.epochs",
        3,
    )
)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing is written or released afterwards."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the run leaves in a folder."""
    out = tmp_path_factory.mktemp("folder") / "run"
    run(RECIPE, out, device=CPU, jobs=1)
    return results_of(out)


@pytest.fixture
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a place in the store that the test names."""
    quick(monkeypatch, tmp_path / "copies")
    if request.param == "s3":
        with s3_url(monkeypatch) as found:
            yield found
    else:
        yield memory_url() if request.param == "memory" else f"file://{tmp_path}/store/tiny"


def kill_in_training(url: str) -> None:
    """Do a run, and kill it once its store has a checkpoint."""
    store, copy = ObjectStore(url), copy_for(url, "work")

    def observer(event: Event) -> None:
        if isinstance(event, Progressed) and [*copy.glob("work/*/checkpoint")]:
            deadline = time.monotonic() + 60
            while not any(name.endswith("/checkpoint") for name in files_in(store)):
                assert time.monotonic() < deadline, "the checkpoint is not written to the store"
                time.sleep(0.01)
            killed.setattr(StoreLock, "release", lambda lock: None)
            killed.setattr(storage._Watch, "update", lambda watch: None)
            raise KilledError

    with pytest.MonkeyPatch.context() as killed, pytest.raises(KilledError):
        run(RECIPE, url, device=CPU, jobs=1, checkpoint_every=0, observer=observer)


def files_in(store: ObjectStore) -> list[str]:
    manifest = newest_manifest(store)
    return [*manifest.files] if manifest else []


def silence(store: ObjectStore) -> None:
    """Let the process that has the lock be dead for a long time, on another machine."""
    name = lock_name(read_state(store).locks[-1])
    holder = json.loads(store.read(name, 10_000))
    changed = {"beat": time.time() - 10_000, "machine": "", "host": "elsewhere"}
    store.write(name, json.dumps(holder | changed).encode())


def check_store(url: str, spy: Spy, expected: dict[str, bytes]) -> None:
    """Check that a run was resumed, has the same bits here and there, and left nothing behind."""
    store, copy = ObjectStore(url), copy_for(url, "work")
    assert spy.shares["train-clean"][0] > 0
    assert spy.notices == []
    assert results_of(copy) == expected
    manifest = newest_manifest(store)
    assert manifest
    for name, file in manifest.files.items():
        assert store.read(file.object_name, file.size + 1) == (copy / name).read_bytes()
    assert {*manifest.files} == {
        str(path.relative_to(copy))
        for path in copy.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert store.sizes("objects").keys() == {file.sha256 for file in manifest.files.values()}
    assert {*store.sizes("state")} == {manifest.name.removeprefix("state/")}


@pytest.mark.parametrize("url", ["file", "s3"], indirect=True)
def test_a_killed_run_goes_on_from_its_copy(url: str, expected: dict[str, bytes]) -> None:
    kill_in_training(url)
    assert read_state(ObjectStore(url)).locks == (1,)
    spy = Spy()
    run(RECIPE, url, device=CPU, jobs=1, observer=spy)
    check_store(url, spy, expected)


@pytest.mark.parametrize("url", ["memory", "s3"], indirect=True)
def test_a_killed_run_goes_on_from_the_store(url: str, expected: dict[str, bytes]) -> None:
    kill_in_training(url)
    shutil.rmtree(copy_for(url, "work"))
    with pytest.raises(RunError, match=rf"{url} is in use by process \d+ on .*, last heard of"):
        run(RECIPE, url, device=CPU, jobs=1)
    silence(ObjectStore(url))
    spy = Spy()
    run(RECIPE, url, device=CPU, jobs=1, observer=spy)
    check_store(url, spy, expected)
    code, out, err = call("table", url, "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["columns"] == ["clean"]
    code, out, err = call("evaluate", f"{url}/models/clean", "--json")
    assert code == 0, err
    code, out, _ = call("compare", f"{url}/outcomes/clean.npz", f"{url}/outcomes/clean.npz")
    assert code == 0
    assert "+0.0" in out


def test_a_run_that_was_taken_over_stops_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, tmp_path / "copies")
    url = memory_url()
    store, other, after = ObjectStore(url), Spy(), list[Manifest | None]()

    def observer(event: Event) -> None:
        if isinstance(event, Progressed) and not after:
            silence(store)
            with pytest.MonkeyPatch.context() as elsewhere:
                elsewhere.setenv("MOREX_COPIES", str(tmp_path / "others"))
                run(RECIPE, url, device=CPU, jobs=1, observer=other)
            after.append(newest_manifest(store))

    with pytest.raises(RunError, match=r"(has taken the run over|was removed), so process \d+ on"):
        run(RECIPE, url, device=CPU, jobs=1, observer=observer)
    assert other.done == ["train-clean", "evaluate-clean"]
    assert newest_manifest(store) == after[0]
    assert read_state(store).locks == ()


def test_a_run_without_its_store_ends_in_one_sentence_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
) -> None:
    quick(monkeypatch, tmp_path / "copies")
    url = memory_url()

    def observer(event: Event) -> None:
        if isinstance(event, Progressed):
            cut.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", unreachable)

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("network is down")

    with (
        pytest.MonkeyPatch.context() as cut,
        pytest.raises(StorageError, match="network is down; nothing is lost: the local copy"),
    ):
        run(RECIPE, url, device=CPU, jobs=1, observer=observer)
    spy = Spy()
    run(RECIPE, url, device=CPU, jobs=1, observer=spy)
    assert (spy.skipped, spy.done) == (["train-clean", "evaluate-clean"], [])
    store = ObjectStore(url)
    manifest = newest_manifest(store)
    assert manifest
    assert {n: store.read(manifest.files[n].object_name, 10**9) for n in expected} == expected


def test_processes_of_one_run_share_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers need no store: they get the folder of the copy."""
    quick(monkeypatch, tmp_path / "copies")
    folder = storage.working_folder("s3://bucket/runs/digits")
    assert folder.parts[-1] == "digits"
    assert folder.is_relative_to(tmp_path / "copies")
    with pytest.raises(RunError, match="is a URL that was made a path"):
        storage.working_folder(Path("s3://bucket/runs/digits"))
    monkeypatch.delenv("MOREX_COPIES")
    with pytest.raises(RunError, match="set MOREX_COPIES to a folder that all of them reach"):
        run(RECIPE, "s3://bucket/runs/digits", device=CPU, ray="auto")
