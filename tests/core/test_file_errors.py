"""Errors of files in words."""

from pathlib import Path

import pytest

from morex.core.file_errors import in_words, near_file, reason


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/digits").mkdir(parents=True)
    Path("runs/digits/table.json").touch()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("runs/digits/tabel.json", "; did you mean 'runs/digits/table.json'?"),
        ("runs/digits/other", ""),
        (
            "runs/digts/table.json",
            "; there is no folder 'runs/digts'; did you mean 'runs/digits'?",
        ),
        ("runs/a/b/c", "; there is no folder 'runs/a'"),
        ("runs/digits/table.json/inside", ""),
        ("runs/digits", ""),
        ("digits", ""),
    ],
)
def test_near_files(path: str, text: str) -> None:
    assert near_file(Path(path)) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("runs", "runs: this is a folder, expected a file"),
        ("gone", "gone: no such file or folder"),
        ("run", "run: no such file or folder; did you mean 'runs'?"),
        (
            "runs/digits/table.json/x",
            "runs/digits/table.json/x: a part of this path is a file, expected a folder",
        ),
        ("x" * 300, f"{'x' * 300}: file name too long"),
    ],
)
def test_what_cannot_be_read(path: str, text: str) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        Path(path).read_bytes()
    assert in_words(caught.value) == text


def test_what_cannot_be_made() -> None:
    with pytest.raises(FileExistsError) as caught:
        Path("runs/digits/table.json").mkdir()
    assert reason(caught.value) == "this is a file, expected a folder"


def test_an_error_without_a_path_keeps_its_message() -> None:
    assert in_words(ConnectionError("no route to the hub")) == "no route to the hub"
    assert reason(OSError("odd")) == "odd"
    assert reason(OSError()) == "oserror"
