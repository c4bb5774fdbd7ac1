"""Files that are read whole."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from morex.core import files
from morex.core.files import check_unpacked_size, read_file


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert read_file(tmp_path / "a") == b"content"
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "link") == b"content"


def test_what_may_never_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file") as caught:
            read_file(path)
        assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)


def test_an_archive_says_how_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(600))
        archive.writestr("b", bytes(600))
    monkeypatch.setattr(files, "_MOST_UNPACKED", 1200)
    check_unpacked_size(packed.getvalue())
    check_unpacked_size(b"no archive")
    monkeypatch.setattr(files, "_MOST_UNPACKED", 1199)
    with pytest.raises(ValueError, match="at most 1199 bytes unpacked, got 1200"):
        check_unpacked_size(packed.getvalue())
