"""Signatures of what morex wrote itself, and the code that files name."""

import hmac
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from morex.core.trust import code_named, is_signed, signature

CODE = ("own.py:Hail",)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty state folder, and a working folder with code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    work = tmp_path / "work"
    work.mkdir()
    (work / "own.py").write_text("")
    monkeypatch.chdir(work)
    return tmp_path / "state"


def test_a_signature_is_ours_and_of_this_text_alone() -> None:
    found = signature("text", CODE)
    assert is_signed("text", CODE, found)
    assert not is_signed("text.", CODE, found)
    assert not is_signed("text", (*CODE, "more.py:Rain"), found)
    for other in (None, "", "0" * 64, 5, "ä"):
        assert not is_signed("text", CODE, other)


def test_the_same_text_beside_other_code_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in CODE, ("own:make",):
        monkeypatch.chdir(tmp_path / "work")
        found = signature("text", code)
        theirs = tmp_path / "theirs"
        theirs.mkdir(exist_ok=True)
        (theirs / "own.py").write_text("")
        monkeypatch.chdir(theirs)
        assert not is_signed("text", code, found)


def test_another_user_signs_differently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = signature("text", CODE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert not is_signed("text", CODE, found)  # nor is a key made in order to check
    assert not (tmp_path / "other").exists()
    assert signature("text", CODE) != found


def test_the_key_is_for_its_user_alone(state: Path) -> None:
    signature("text", CODE)
    [key] = (state / "morex").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32


def test_without_a_place_for_the_key_nothing_is_signed(state: Path) -> None:
    state.write_text("a file where the folder should be")
    assert signature("text", CODE) is None
    assert not is_signed("text", CODE, "0" * 64)


def test_a_key_that_was_not_written_whole_is_replaced(state: Path) -> None:
    key = state / "morex" / "signing-key"
    key.parent.mkdir(parents=True)
    key.touch()
    empty = hmac.new(b"", b"text", "sha256").hexdigest()
    assert not is_signed("text", (), empty)
    assert is_signed("text", CODE, signature("text", CODE))
    assert len(key.read_bytes()) == 32


def test_processes_that_begin_together_make_one_key() -> None:
    with ProcessPoolExecutor(4) as pool:
        assert len({*pool.map(signature, ["text"] * 8, [CODE] * 8)}) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"kind": "fog", "t": 1}, ()),
        ({"a": [{"kind": "x.py:A"}, {"b": ({"kind": "y.py:B", "parts": {"kind": "z.py:C"}},)}]}, 3),
        ({"kind": "foreign", "factory": "os:abort"}, ("os:abort",)),
        ({"kind": "saved", "model": "net:make"}, ("net:make",)),
        ({"kind": "saved", "model": "hf://a/b"}, ()),
        ({"kind": "saved", "model": "runs/a/models/b"}, ()),
        ({"kind": ["x.py:A"], "note": "see x.py:A"}, ()),
        ({"kind": "x.py:A", "again": {"kind": "x.py:A"}}, ("x.py:A",)),
    ],
)
def test_code_is_found_wherever_it_is(content: Any, code: Any) -> None:
    found = code_named(content)
    assert found == code if isinstance(code, tuple) else len(found) == code


def test_depth_is_no_problem() -> None:
    content: Any = {"kind": "x.py:A"}
    for _ in range(100_000):
        content = [content]
    assert code_named(content) == ("x.py:A",)
    while isinstance(content, list):  # or Python's own recursive destructor is tried
        content = content[0]


def test_nothing_is_imported_to_find_the_place_of_code(tmp_path: Path) -> None:
    (tmp_path / "work" / "trap").mkdir()
    (tmp_path / "work" / "trap" / "__init__.py").write_text("raise SystemExit('imported')")
    assert signature(json.dumps({}), ("trap.net:make",))
    assert "trap" not in os.sys.modules  # type: ignore[attr-defined]
