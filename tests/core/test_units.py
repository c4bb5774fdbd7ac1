"""Numbers and words as people read them, at the limits where a unit changes."""

from collections.abc import Callable

import pytest

from morex.core import units


def test_what_a_terminal_obeys_is_escaped() -> None:
    text = "a\tb\nc\x1b[2J\x07\r\x9b\u202e\udcff\x00"
    assert units.printable(text) == r"a	b".replace("	", "\t") + "\nc" + (
        r"\x1b[2J\x07\r\x9b\u202e\udcff\x00"
    )
    for name in ("Schäfer (all)", "می‌خواهم", "猫"):
        assert units.printable(name) == name


@pytest.mark.parametrize(
    ("write", "number", "text"),
    [
        (units.percent, 0.4125, "41.2%"),
        (units.percent, 1, "100.0%"),
        (units.p_value, 1.0, "1.0000"),
        (units.p_value, 0.0001, "0.0001"),
        (units.p_value, 0.00009, "<0.0001"),
        (units.fraction, 4 / 255, "4/255"),
        (units.fraction, 8 / 255, "8/255"),
        (units.fraction, 0.2, "0.2"),  # 51/255
        (units.fraction, 0.5, "0.5"),
        (units.fraction, 27.7128, "27.71"),
        (units.duration, 4.21, "4.2 s"),
        (units.duration, 59.9, "59.9 s"),
        (units.duration, 60, "1 min 00 s"),
        (units.duration, 187, "3 min 07 s"),
        (units.duration, 3600, "1 h 00 min"),
        (units.duration, 7530, "2 h 05 min"),
        (units.duration, 86_399, "23 h 59 min"),
        (units.duration, 86_400, "1 day 0 h"),
        (units.duration, 100 * 3600, "4 days 4 h"),
        (units.duration, 5 * 365.25 * 86_400, "5.0 years"),
        (units.duration, 463_582 * 3600, "53 years"),
        (units.rough_duration, 89, "89 s"),
        (units.rough_duration, 90, "2 min"),
        (units.rough_duration, 5399, "90 min"),
        (units.rough_duration, 5400, "1.5 h"),
        (units.rough_duration, 47 * 3600, "47.0 h"),
        (units.rough_duration, 60 * 3600, "2.5 days"),
        (units.rough_duration, 463_582 * 3600, "53 years"),
        (units.rough_duration, 1e12, "31,688 years"),
        (units.count, 999, "999"),
        (units.count, 3400, "3.4 k"),
        (units.count, 5.6e6, "5.6 M"),
        (units.count, 7.8e9, "7.8 G"),
        (units.count, 9.1e12, "9.1 T"),
        (units.three_digits, 950, "950"),
        (units.three_digits, 25_200, "25.2k"),
        (units.three_digits, 1_150_000, "1.15M"),
        (units.three_digits, 252_000, "252k"),
        (units.three_digits, 2_000_000_000, "2.00G"),
        (units.round_number, 500, "500"),
        (units.round_number, 20_000, "20k"),
        (units.round_number, 1e6, "1M"),
        (units.round_number, 2e9, "2G"),
        (units.memory, 3 * 2**20, "3 MiB"),
        (units.memory, 2**30, "1.0 GiB"),
        (units.points, 0.12345, 12.3),
        (units.points, None, None),
    ],
)
def test_numbers(write: Callable[[float | None], object], number: float, text: object) -> None:
    assert write(number) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_lists(words: list[str], text: str) -> None:
    assert units.listed(words) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 models"), (1, "1 model"), (2, "2 models")])
def test_plurals(count: int, text: str) -> None:
    assert units.plural(count, "model") == text


@pytest.mark.parametrize("text", ["an int", "an Identity", "a Linear"])
def test_articles(text: str) -> None:
    assert units.with_article(text.split()[1]) == text
