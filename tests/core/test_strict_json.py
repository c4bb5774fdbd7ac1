"""JSON of strangers."""

import pytest

from morex.core import strict_json
from morex.core.strict_json import parse_json


def test_plain_json_is_read() -> None:
    text = '{"a": [1, -2.5e3, true, null, "\\u00e4"], "b": {"c": 9223372036854775807}}'
    assert parse_json(text.encode()) == {
        "a": [1, -2500.0, True, None, "ä"],
        "b": {"c": 2**63 - 1},
    }
    assert parse_json(b"[" * 100 + b"]" * 100)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"NaN", "NaN is not a finite number"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b"[1e999]", "1e999 is not"),
        (b"9223372036854775808", "does not fit 64 bits"),
        (b"1" * 10_000, "11111111111111111111 does not fit 64 bits"),
        (b"[" * 101 + b"]" * 101, "more than 100 deep"),
        (b"[" * 100_000, "more than 100 deep"),
        (b"\xff", "utf-8"),
        ("{}".encode("utf-16"), "utf-8"),
        (b"", "Expecting value"),
    ],
)
def test_other_content_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(content)


def test_the_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "_MOST_BYTES", 3)
    assert parse_json(b"[1]") == [1]
    with pytest.raises(ValueError, match="at most 3 bytes, got 4"):
        parse_json(b"[12]")
