"""What a store holds of a run, what a stranger may have put there, and who may write."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from stores import memory_url, quick
from tiny import raw_recipe

from morex.artifacts.manifest import (
    Manifest,
    StoredFile,
    lock_name,
    newest_manifest,
    read_state,
    without_weights,
)
from morex.artifacts.stored_runs import DamagedError, copy_for, local_file, local_run, split_url
from morex.core.object_store import ObjectStore, StorageError
from morex.core.trust import UntrustedCodeError
from morex.models.named import find_model
from morex.recipe.signed import is_signed_file, signed_yaml
from morex.run import RunError
from morex.run.continuation import recipe_of
from morex.run.mirror import CopyMark, Mirror
from morex.run.storage_lock import Holder, StoreLock, locked

FILES = {
    "recipe.yaml": b"name: tiny\n",
    "stages/train-a.json": b"{}",
    "models/a/model.json": b"{}",
    "models/a/model.safetensors": b"weights",
    "outcomes/a.npz": b"",
    "work/train-b-0123456789abcdef/checkpoint": b"state",
}


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    quick(monkeypatch, tmp_path / "copies")
    return tmp_path / "copies"


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(memory_url())


def fill(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def contents(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def mirrored(store: ObjectStore, root: Path, then: Callable[[Mirror], None]) -> list[str]:
    """Work on a run in ``root``, and return what was noticed."""
    notices: list[str] = []
    root.mkdir(parents=True, exist_ok=True)
    mark = CopyMark.of(root)
    with locked(store, mark.copy_id) as lock:
        mirror = Mirror(store, root, lock, mark)
        mirror.begin(notices.append)
        then(mirror)
        mirror.end()
    return notices


def nothing(mirror: Mirror) -> None:
    """Change nothing."""


def stored(store: ObjectStore, tmp_path: Path) -> Manifest:
    """Put the files into the store, and return their manifest."""
    mirrored(store, tmp_path / "first", lambda mirror: fill(mirror.root, FILES))
    manifest = newest_manifest(store)
    assert manifest
    return manifest


def forged(store: ObjectStore, **changes: Any) -> None:
    """Let a stranger write a manifest with a right checksum."""
    manifest = newest_manifest(store)
    assert manifest
    other = Manifest.model_construct(**{**dict(manifest), "serial": 100, **changes})
    store.write(other.name, other.sealed())


def test_another_copy_gets_all_files_and_nothing_else(store: ObjectStore, tmp_path: Path) -> None:
    stored(store, tmp_path)
    fill(tmp_path / "second", {"stages/old.json": b"old", "report.html": b"kept"})
    assert mirrored(store, tmp_path / "second", nothing) == []
    assert contents(tmp_path / "second") == {**FILES, "report.html": b"kept"}


def test_a_copy_that_was_the_last_to_write_is_kept(store: ObjectStore, tmp_path: Path) -> None:
    stored(store, tmp_path)
    fill(tmp_path / "first", {"stages/train-b.json": b"finished, and then killed"})
    mirrored(store, tmp_path / "first", nothing)
    manifest = newest_manifest(store)
    assert manifest
    assert "stages/train-b.json" in manifest.files


def test_a_copy_that_is_behind_gets_the_newer_state(store: ObjectStore, tmp_path: Path) -> None:
    stored(store, tmp_path)
    newer = {"stages/train-a.json": b'{"again": true}'}
    mirrored(store, tmp_path / "second", lambda mirror: fill(mirror.root, newer))
    fill(tmp_path / "first", {"stages/train-a.json": b"of nobody"})
    mirrored(store, tmp_path / "first", nothing)
    assert contents(tmp_path / "first") == {**FILES, **newer}


def test_a_copy_from_a_backup_gets_the_newer_state(store: ObjectStore, tmp_path: Path) -> None:
    stored(store, tmp_path)
    shutil.copytree(tmp_path / "first", tmp_path / "backup")
    newer = {"stages/train-a.json": b'{"again": true}'}
    mirrored(store, tmp_path / "first", nothing)
    mirrored(store, tmp_path / "first", lambda mirror: fill(mirror.root, newer))
    mirrored(store, tmp_path / "backup", nothing)
    assert contents(tmp_path / "backup") == {**FILES, **newer}


@pytest.mark.parametrize("content", [None, b"WEIGHTS"])
def test_a_damaged_object_is_named_and_mended(
    store: ObjectStore, tmp_path: Path, content: bytes | None
) -> None:
    name = stored(store, tmp_path).files["models/a/model.safetensors"].object_name
    store.remove(name) if content is None else store.write(name, content)
    how = "is missing" if content is None else "is damaged: it does not match its checksum"
    with pytest.raises(DamagedError, match=f"{name}, the content of models/a/model.* {how}"):
        local_run(store.url, tuple)

    def mend(mirror: Mirror) -> None:
        fill(mirror.root, {"models/a/model.safetensors": b"weights"})

    notices = mirrored(store, tmp_path / "second", mend)
    assert [text.split(", the")[0] for text in notices] == [f"{store.url}/{name}"]
    assert store.read(name, 100) == b"weights"
    assert (local_run(store.url, tuple) / "models/a/model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "/etc/x.json",
        "stages/../../x.json",
        "models/../model.json",
        "models/a/net.py",
        ".owner.json",
        ".lock",
        "work/x/checkpoint",
        "models/a\\b/model.json",
        "models/a\n/model.json",
    ],
)
def test_names_that_no_run_has_are_refused(store: ObjectStore, tmp_path: Path, name: str) -> None:
    known = stored(store, tmp_path)
    forged(store, files={name: known.files["recipe.yaml"]})
    store.remove(known.name)
    with pytest.raises(StorageError, match=r"is damaged \(files"):
        local_run(store.url)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"files": {"recipe.yaml": StoredFile.model_construct(size=-1, sha256="0" * 64)}},
        {"files": {"recipe.yaml": StoredFile.model_construct(size=2**60, sha256="0" * 64)}},
        {"files": {"recipe.yaml": StoredFile.model_construct(size=1, sha256="../../state/x")}},
    ],
)
def test_manifests_are_checked(store: ObjectStore, tmp_path: Path, changes: dict[str, Any]) -> None:
    known = stored(store, tmp_path)
    forged(store, **changes)
    store.remove(known.name)
    with pytest.raises(StorageError, match="is damaged"):
        newest_manifest(store)


def test_a_manifest_that_was_written_in_part_does_not_count(
    store: ObjectStore, tmp_path: Path
) -> None:
    known = stored(store, tmp_path)
    store.write("state/manifest-000001-000099.json", known.sealed()[:-20])
    store.write(
        "state/manifest-000001-000098.json", known.sealed().replace(b"models/a", b"models/b")
    )
    assert newest_manifest(store) == known


def test_readers_fetch_what_they_need(store: ObjectStore, tmp_path: Path) -> None:
    stored(store, tmp_path)
    copy = local_run(store.url)
    assert (
        {*contents(copy)}
        == {*without_weights(FILES)}
        == {*FILES}
        - {
            "models/a/model.safetensors",
            "work/train-b-0123456789abcdef/checkpoint",
        }
    )
    assert local_file(f"{store.url}/outcomes/a.npz").read_bytes() == b""
    assert find_model(f"{store.url}/models/a") == copy / "models/a"
    with pytest.raises(FileNotFoundError, match=r"the run has no such model; it has a$"):
        find_model(f"{store.url}/models/b")
    with pytest.raises(FileNotFoundError, match=f"no run at {store.url}/x; make one with"):
        local_run(f"{store.url}/x")
    assert copy != copy_for(store.url, "work")


@pytest.mark.parametrize("url", ["s3://b/x", "s3://b/models/", "s3://b/models/../x"])
def test_a_url_must_name_something_in_a_run(url: str) -> None:
    with pytest.raises(ValueError, match="expected a model or outcomes in a run"):
        split_url(url)


def test_a_place_that_holds_something_else_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    store.write("thesis.tex", b"")
    with pytest.raises(RunError, match=r"is not a run: it holds 'thesis\.tex'"):
        mirrored(store, tmp_path / "first", nothing)
    assert store.sizes().keys() == {"thesis.tex"}


def test_code_that_a_stored_recipe_names_is_not_run(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    raw = raw_recipe("clean")
    raw["perturbations"]["own"] = {"kind": f"{tmp_path / 'evil.py'}:Evil"}
    text = (yaml.safe_dump(raw) + f"# signature: {'0' * 64}\n").encode()
    mirrored(store, tmp_path / "first", lambda mirror: fill(mirror.root, {"recipe.yaml": text}))
    with pytest.raises(UntrustedCodeError, match="names code to run"):
        recipe_of(local_run(store.url))
    assert not (tmp_path / "ran").exists()


def test_code_of_a_stored_run_of_this_user_is_known(store: ObjectStore, tmp_path: Path) -> None:
    raw = raw_recipe("clean")
    raw["perturbations"]["own"] = {"kind": f"{tmp_path / 'own.py'}:Own"}
    text = signed_yaml(raw).encode()
    mirrored(store, tmp_path / "first", lambda mirror: fill(mirror.root, {"recipe.yaml": text}))
    assert is_signed_file(local_run(store.url) / "recipe.yaml", raw)


def held(store: ObjectStore, **changes: Any) -> Holder:
    """Let somebody hold the lock."""
    holder = Holder.here("other copy").model_copy(update=changes)
    store.write(lock_name(1), holder.to_bytes())
    return holder


def test_a_second_writer_is_told_who_is_first(store: ObjectStore) -> None:
    held(store, host="node7\x1b", pid=12, machine="m", beat=time.time() - 100)
    expected = (
        rf"{store.url} is in use by process 12 on node7\\x1b, last heard of 2 min ago; .*"
        rf"heard for 5 min, or remove {store.url}/{lock_name(1)}$"
    )
    with pytest.raises(RunError, match=expected), locked(store, "copy"):
        pass
    assert read_state(store).locks == (1,)


@pytest.mark.parametrize(
    "dead",
    [{"beat": 0.0, "machine": ""}, {"copy_id": "copy", "machine": ""}, {"pid": 2**30}],
    ids=["silent", "same copy", "no such process"],
)
def test_the_lock_of_a_dead_process_is_taken(store: ObjectStore, dead: dict[str, Any]) -> None:
    held(store, **dead)
    with locked(store, "copy") as lock:
        assert (lock.writer, read_state(store).locks) == (2, (2,))
        assert lock.holder.pid == os.getpid()
    assert read_state(store).locks == ()


def test_of_two_writers_at_the_same_time_one_is_told(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a store without conditions the second replaces the lock before the first looks again."""

    def beaten(name: str, content: bytes) -> None:
        held(store)

    monkeypatch.setattr(store, "create", beaten)
    with pytest.raises(RunError, match="is in use by process"), locked(store, "copy"):
        pass


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("remove", "the lock was removed"),
        ("replace", "another process has the lock"),
        ("next", "process 12 on node7 has taken the run over"),
    ],
)
def test_a_lost_lock_is_noticed_and_nothing_is_written(
    store: ObjectStore, tmp_path: Path, how: str, why: str
) -> None:
    def lose(mirror: Mirror) -> None:
        other = Holder.here("other copy").model_copy(update={"host": "node7", "pid": 12})
        if how == "remove":
            store.remove(lock_name(1))
        else:
            store.write(lock_name(1 if how == "replace" else 2), other.to_bytes())
        mirror.lock.beat()
        assert why in mirror.lock.lost
        fill(mirror.root, FILES)

    with pytest.raises(RunError, match=f"{why}, so process {os.getpid()} on .* stops"):
        mirrored(store, tmp_path / "first", lose)
    manifest = newest_manifest(store)
    assert manifest
    assert manifest.files == {}


def test_a_beat_shows_that_the_process_lives(store: ObjectStore) -> None:
    holder = Holder.here("copy").model_copy(update={"beat": 0.0})
    store.write(lock_name(1), holder.to_bytes())
    StoreLock(store, holder, 1, 0.0).beat()
    beat = json.loads(store.read(lock_name(1), 10_000))["beat"]
    assert time.time() - beat < 60


def test_errors_that_pass_are_tried_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def flaky(path: str, content: bytes) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise TimeoutError("too\nslow")

    monkeypatch.setattr(store._files, "pipe_file", flaky)
    store.write("a", b"")
    assert len(attempts) == 3
    monkeypatch.setattr(store._files, "pipe_file", lambda *_: 1 / 0)
    with pytest.raises(
        StorageError, match=rf"{store.url} cannot be written \(a\): division by zero"
    ):
        store.write("a", b"")


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("foo://bar", StorageError, "Protocol not known: foo"),
        ("gs://bar", ImportError, "pip install gcsfs"),
    ],
)
def test_a_missing_library_is_named(url: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        ObjectStore(url)
