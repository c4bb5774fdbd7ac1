"""Results that are missing, damaged or of another format are refused."""

import json

import numpy as np
import pytest
from report_table import SMALL, write_outcomes

from morex.artifacts.outcomes import Outcomes
from morex.report import (
    read_results,
)


def test_no_run_and_no_results_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run directory .*gone.*morex run"):
        read_results(tmp_path / "gone")
    (tmp_path / "new").mkdir()
    with pytest.raises(FileNotFoundError, match="new' has no results yet"):
        read_results(tmp_path / "new")
    run = write_outcomes(tmp_path / "begun", SMALL, columns={})
    with pytest.raises(FileNotFoundError, match="begun' has no results yet"):
        read_results(run)


@pytest.mark.parametrize("text", ["", "{", '{"format": 1,', "\x00", "nonsense"])
def test_damaged_results_are_named(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"results\.json is damaged"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ['{"format": 2}', "{}", "[]", "3"])
def test_unknown_formats_are_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"has format .*reads 1"):
        read_results(tmp_path)


def test_all_problems_of_a_results_file_come_with_their_place(tmp_path):
    run = write_outcomes(tmp_path / "r", SMALL, seed="x", columns={"clean": {}})
    with pytest.raises(ValueError, match=r"seed: .*columns\.clean\.outcomes: "):
        read_results(run)


@pytest.mark.parametrize(
    "perturbation",
    [
        {},
        {"kind": 3},
        {"kind": "compose", "parts": 3},
        {"kind": "compose", "parts": ["fog"]},
        {"kind": "compose", "parts": [{"t": 1}]},
    ],
)
def test_a_perturbation_has_a_kind_and_so_have_its_parts(tmp_path, perturbation):
    run = write_outcomes(tmp_path / "r", {"M2": {"clean": "1"}})
    content = json.loads((run / "results.json").read_bytes())
    content["rows"]["clean"]["perturbation"] = perturbation
    (run / "results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"rows\.clean\.perturbation: "):
        read_results(run)


def test_rows_may_not_take_the_names_of_computed_ones(tmp_path):
    rows = {"union": {"perturbation": {"kind": "clean"}}}
    run = write_outcomes(tmp_path / "r", SMALL)
    content = json.loads((run / "results.json").read_text()) | {"rows": rows}
    (run / "results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"rows: .*union: reserved"):
        read_results(run)


def test_damaged_missing_and_foreign_outcomes_are_named(tmp_path):
    run = write_outcomes(tmp_path / "r", SMALL)
    path = run / "outcomes/1.npz"
    good = path.read_bytes()
    path.write_bytes(good[:-30])
    with pytest.raises(ValueError, match=r"1\.npz: not a readable"):
        read_results(run)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.npz, the outcomes of 'M2', is missing"):
        read_results(run)
    Outcomes({"snow": np.array([True])}).save(path)
    with pytest.raises(ValueError, match=r"1\.npz holds rows .*snow"):
        read_results(run)
