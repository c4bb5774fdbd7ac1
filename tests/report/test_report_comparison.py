"""Several runs on one page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import Reader
from report_run import MODELS, ROWS, write_run
from report_table import write_outcomes

from morex.report import make_table, read_results
from morex.report.comparison import names, to_comparison
from morex.report.material import read_material


def test_a_comparison_has_the_figures_of_every_run(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), seed=seed) for seed in range(2)]
    tables = [make_table(read_results(run)) for run in runs]
    found = Reader(to_comparison([read_material(run) for run in runs]))
    means = next(t for t in found.tables if t[0][0] == "model")
    for k, model in enumerate(MODELS):
        wanted = [model, *(str(round(100 * table.mean[k], 1)) for table in tables)]
        assert means[1 + k] == wanted
    average = {m: np.mean([t.mean[k] for t in tables]) for k, m in enumerate(MODELS)}
    best = max(average, key=average.get)
    assert (
        f"Averaged over 2 runs, {best} has the best mean over the rows, {100 * average[best]:.1f}%"
        in found.text
    )
    assert "Table 1: made-up, seed 7" in found.text


@pytest.mark.parametrize(
    "other",
    [
        {"n": 30},
        {"rows": {row: ROWS[row] for row in ("clean", "fog")}},
        {"rows": ROWS | {"pgd-linf": {"kind": "linf", "eps": 0.5}}},
    ],
)
def test_runs_that_were_attacked_differently_are_not_averaged(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    runs = [write_run(tmp_path / "one"), write_run(tmp_path / "two", **other)]
    found = Reader(to_comparison([read_material(run) for run in runs]))
    assert "These runs differ in their test images or attacks" in found.text
    assert "Averaged" not in found.text
    assert "McNemar" not in found.text


def test_runs_on_the_same_images_are_compared_in_pairs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in "ab"]
    labels = (runs[0] / "test-labels.json").read_bytes()
    found = Reader(to_comparison([read_material(run) for run in runs]))
    rows = found.table("run")[1:]
    assert [row[1] for row in rows] == [*MODELS]
    assert {row[4] for row in rows} == {"+0.0"}
    assert {row[6] for row in rows} == {"1.0000"}
    (runs[1] / "test-labels.json").write_bytes(labels.replace(b'"labels": [', b'"labels": [1, '))
    html = to_comparison([read_material(run) for run in runs])
    assert "McNemar" not in html


def test_the_best_average_wins_and_its_range_is_given(tmp_path: Path) -> None:
    one = {"a": {"clean": "1111"}, "b": {"clean": "1110"}, "only here": {"clean": "1111"}}
    two = {"a": {"clean": "1000"}, "b": {"clean": "1110"}}
    runs = [write_outcomes(tmp_path / n, right) for n, right in (("one", one), ("two", two))]
    text = Reader(to_comparison([read_material(run) for run in runs])).text
    best = "75.0% (75.0% to 75.0%)"
    assert f"b has the best mean over the rows, {best}, and b the best union, {best}." in text
    assert "Best mean: a in 1 of 2 runs and b in 1 of 2 runs" in text


def test_runs_of_one_recipe_and_seed_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    right = {"a": {"clean": "1111"}}
    runs = [write_outcomes(tmp_path / name, right) for name in ("one", "two")]
    other = write_outcomes(tmp_path / "three", right, seed=8)
    found = names([read_material(run) for run in (*runs, other)])
    assert found == [f"tiny, seed 7 ({runs[0]})", f"tiny, seed 7 ({runs[1]})", "tiny, seed 8"]


def test_pairs_have_the_difference_to_the_first_run(tmp_path: Path) -> None:
    runs = [
        write_outcomes(tmp_path / name, {"a": {"clean": right}})
        for name, right in (("one", "1" * 8), ("two", "1" * 2 + "0" * 6))
    ]
    for run in runs:
        (run / "test-labels.json").write_text('{"labels": [0, 0, 0, 0, 0, 0, 0, 0]}')
    table = Reader(to_comparison([read_material(run) for run in runs])).table("run")
    assert table[1][1:] == ["a", "100.0", "25.0", "-75.0", "8", "0.0312"]
