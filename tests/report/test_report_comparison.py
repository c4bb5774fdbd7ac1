"""Several runs on one page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import Reader
from report_run import MODELS, ROWS, write_run

from morex.report import make_table, read_results
from morex.report.comparison import to_comparison
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
    assert {row[6] for row in rows} == {"1"}
    (runs[1] / "test-labels.json").write_bytes(labels.replace(b'"labels": [', b'"labels": [1, '))
    html = to_comparison([read_material(run) for run in runs])
    assert "McNemar" not in html
