"""Outcomes, proportions and their intervals."""

import subprocess
import sys
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from morex.artifacts.notes import Note, NoteBook
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import Comparison, Proportion, wilson_interval


def flags(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


@given(st.data(), st.integers(1, 20_000), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(deadline=None, max_examples=60)
def test_wilson_equals_scipy(data, n, confidence):
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(hits, n, confidence) == pytest.approx(tuple(expected), abs=1e-9)


def test_wilson_by_hand():
    # at p = 1/2 the interval is centred on 1/2
    z = 1.959963984540054
    low, high = Proportion(50, 100).interval
    half = z * (0.25 / 100 + z * z / 40_000) ** 0.5 / (1 + z * z / 100)
    assert isclose(low, 0.5 - half)
    assert isclose(high, 0.5 + half)
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)


def test_a_proportion_prints_itself_with_interval_and_n() -> None:
    assert str(Proportion(50, 100)) == "50.0%  95% interval 40.4 to 59.6%, n 100"
    assert str(Proportion(3, 3)) == "100.0%  95% interval 43.9 to 100.0%, n 3"


@pytest.mark.parametrize("n", [1, 7, 360, 10_000])
def test_wilson_ends_are_exact_and_mirror_each_other(n):
    z2 = 1.959963984540054**2
    low, high = wilson_interval(0, n)
    assert low == 0.0
    assert high == pytest.approx(z2 / (n + z2))  # Wilson's bound at no hits
    assert wilson_interval(n, n) == pytest.approx((1 - high, 1.0))
    assert wilson_interval(n, n)[1] == 1.0


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(hits, n):
    with pytest.raises(ValueError, match=r"at least one example|hits must lie"):
        Proportion(hits, n)
    with pytest.raises(ValueError, match=r"at least one example|hits must lie"):
        wilson_interval(hits, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, float("nan")])
def test_impossible_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        wilson_interval(1, 2, confidence)


def test_accuracy_counts_each_row():
    outcomes = Outcomes({"clean": flags("1110"), "fog": flags("10")})
    assert outcomes.rows == ("clean", "fog")
    assert outcomes.accuracy("clean") == Proportion(3, 4)
    assert outcomes.accuracy("clean").value == 0.75
    assert outcomes.accuracy("fog") == Proportion(1, 2)
    with pytest.raises(ValueError, match=r"'snow'.*clean, fog"):
        outcomes.accuracy("snow")


def test_union_needs_every_row_and_judges_the_shared_prefix():
    outcomes = Outcomes({"a": flags("111101"), "b": flags("1011"), "c": flags("110111")})
    assert outcomes.union().tolist() == [True, False, False, True]
    assert outcomes.union(["a", "c"]).tolist() == [True, True, False, True, False, True]
    assert outcomes.union(["b"]).tolist() == [True, False, True, True]


def test_mean_weighs_rows_not_examples():
    outcomes = Outcomes({"a": flags("1" * 100), "b": flags("0")})
    assert outcomes.mean() == 0.5
    assert outcomes.mean(["a"]) == 1.0


@pytest.mark.parametrize("method", ["union", "mean"])
def test_no_rows_or_unknown_rows_are_refused(method):
    outcomes = Outcomes({"a": flags("1")})
    with pytest.raises(ValueError, match="at least one row"):
        getattr(outcomes, method)([])
    with pytest.raises(ValueError, match="'b'"):
        getattr(outcomes, method)(["a", "b"])


rows = st.dictionaries(
    st.sampled_from(["clean", "pgd-l2", "rays-linf", "fog"]),
    st.lists(st.booleans(), min_size=1, max_size=12).map(lambda r: np.array(r, dtype=bool)),
    min_size=1,
)


@given(rows)
@settings(deadline=None, max_examples=50)
def test_union_is_below_every_row_per_example(right):
    outcomes = Outcomes(right)
    union = outcomes.union()
    assert len(union) == min(len(r) for r in right.values())
    assert all((union <= r[: len(union)]).all() for r in right.values())
    # and it is the largest such: wherever it is wrong, some row is wrong
    assert all(any(not r[i] for r in right.values()) for i in np.flatnonzero(~union))


@pytest.mark.parametrize(
    "right",
    [np.array([1, 0]), np.array([0.9]), np.zeros((2, 2), bool), np.zeros(0, bool), [1, 0]],
    ids=["ints", "floats", "matrix", "empty", "list of ints"],
)
def test_rows_that_are_not_booleans_per_example_are_refused(right):
    with pytest.raises(ValueError, match=r"row 'fog'.*boolean"):
        Outcomes({"clean": flags("1"), "fog": right})


@pytest.mark.parametrize("name", ["", "a b", "../up", "file", "rows", "-x", "a\n"])
def test_row_names_that_cannot_be_stored_are_refused(name):
    with pytest.raises(ValueError, match="row name"):
        Outcomes({name: flags("1")})


def test_no_row_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        Outcomes({})


def test_arrays_are_copied_and_read_only():
    mine = flags("11")
    outcomes = Outcomes({"clean": mine})
    mine[0] = False
    assert outcomes.accuracy("clean").hits == 2
    with pytest.raises(ValueError, match="read-only"):
        outcomes.right["clean"][0] = False


def test_save_and_load_keep_everything_and_leave_no_other_file(tmp_path):
    outcomes = Outcomes({"pgd-l2": flags("1011"), "clean": flags("111101")})
    path = tmp_path / "clean.npz"
    outcomes.save(path)
    outcomes.save(path)  # over an existing file
    loaded = Outcomes.load(path)
    assert loaded.rows == outcomes.rows
    assert all((loaded.right[row] == outcomes.right[row]).all() for row in outcomes.rows)
    assert [p.name for p in tmp_path.iterdir()] == ["clean.npz"]


def test_equal_outcomes_make_equal_files(tmp_path):
    for name in ("a", "b"):
        Outcomes({"clean": flags("1011")}).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "clean.npz"
    Outcomes({"clean": flags("10")}).save(path)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Outcomes({"clean": flags("11")}).save(path)
    assert Outcomes.load(path).accuracy("clean") == Proportion(1, 2)


def saved(tmp_path) -> bytes:
    path = tmp_path / "good.npz"
    Outcomes({"clean": flags("1101" * 9), "fog": flags("01" * 5)}).save(path)
    return path.read_bytes()


def test_every_truncation_is_reported(tmp_path):
    good, path = saved(tmp_path), tmp_path / "bad.npz"
    for length in range(0, len(good), 7):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match=r"bad\.npz: not a readable.*delete it"):
            Outcomes.load(path)


def test_a_changed_byte_is_reported_or_harmless(tmp_path):
    good, path = saved(tmp_path), tmp_path / "bad.npz"
    expected = Outcomes.load(tmp_path / "good.npz")
    reported = 0
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x15]) + good[at + 1 :])
        try:
            found = Outcomes.load(path)
        except ValueError as error:
            reported += "bad.npz" in str(error)
        else:  # time stamps and the like
            assert found.rows == expected.rows
            assert all((found.right[r] == expected.right[r]).all() for r in found.rows)
    assert reported > len(good) / 2


def test_other_content_is_reported(tmp_path):
    path = tmp_path / "x.npz"
    contents = {"array": flags("1"), "pickle": np.array([{}], dtype=object)}
    for content in contents.values():
        with path.open("wb") as file:
            np.save(file, content)
        with pytest.raises(ValueError, match=r"x\.npz"):
            Outcomes.load(path)
    np.savez(path, rows=np.array(["clean"]), clean=np.array([1, 2]))
    with pytest.raises(ValueError, match=r"x\.npz.*boolean"):
        Outcomes.load(path)
    np.savez(path, rows=np.array(["clean"]), clean=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match=r"x\.npz.*allow_pickle"):
        Outcomes.load(path)
    np.savez(path, rows=np.array(["clean", "fog"]), clean=flags("1"))
    with pytest.raises(ValueError, match=r"x\.npz.*fog"):
        Outcomes.load(path)


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothere"):
        Outcomes.load(tmp_path / "nothere.npz")


def test_torch_is_not_imported():
    code = "import sys, morex.artifacts.outcomes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- two models on the same examples


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (5, 5), (0, 6), (9, 2), (3, 40), (1000, 900)]
)
def test_the_paired_test_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True] * 7)
    second = np.array([False] * only_first + [True] * only_second + [True] * 7)
    compared = Comparison.of(first, second)
    assert (compared.only_first, compared.only_second) == (only_first, only_second)
    differ = only_first + only_second
    expected = binomtest(only_first, differ, 0.5).pvalue if differ else 1.0
    assert compared.p == pytest.approx(expected)
    assert compared.first - compared.second == pytest.approx(
        (only_first - only_second) / len(first)
    )


def test_only_shared_examples_are_compared() -> None:
    compared = Comparison.of(np.array([True, True, False]), np.array([False, True]))
    assert (compared.n, compared.only_first, compared.only_second) == (2, 1, 0)
    with pytest.raises(ValueError, match="at least one example"):
        Comparison.of(np.zeros(0, np.bool_), np.ones(3, np.bool_))


def test_notes_are_saved_with_the_rows_and_decide_no_figure(tmp_path: Path) -> None:
    rows = {"clean": np.array([True, False])}
    notes = (Note("clean", "gradients zero", 1, 2), Note("clean", "answers not finite", 2, 2))
    noted = Outcomes(rows, notes=notes)
    noted.save(tmp_path / "noted.npz")
    Outcomes(rows).save(tmp_path / "plain.npz")
    read = Outcomes.load(tmp_path / "noted.npz")
    assert read.notes == notes
    assert read.rows == ("clean",)
    assert Outcomes.load(tmp_path / "plain.npz").notes == ()
    with np.load(tmp_path / "plain.npz") as plain:  # as it was before there were notes
        assert {*plain} == {"rows", "clean"}


@pytest.mark.parametrize(
    "bad",
    [
        {"what": "colours"},
        {"images": 3},
        {"images": 0},
    ],
)
def test_notes_that_cannot_be_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected a known note on some of the images"):
        Note(**{"row": "clean", "what": "gradients zero", "images": 1, "of": 2} | bad)


def test_notes_of_some_rows_are_taken_over() -> None:
    first, second = Note("a", "gradients zero", 1, 2), Note("b", "gradients zero", 2, 2)
    book = NoteBook([first])
    book.take([Note("a", "gradients zero", 2, 2), second], ["b"])
    assert (*book,) == (first, second)
    assert book.on(["b"]) == (second,)
    assert book.count("b", "gradients zero") == 2
    assert book.count("b", "answers not finite") == 0
