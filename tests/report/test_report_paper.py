"""The paper's figures are shown where they can be compared with those of a run."""

import json

import pytest
from report_table import KINDS, PAPER, SMALL, TABLE1, perturbation, write_outcomes

from morex.report import (
    make_table,
    paper_figure,
    read_results,
    to_json,
)


def test_paper_figures_are_those_of_table_1():
    for row, figures in TABLE1["rows"].items():
        found = [paper_figure(PAPER, row, perturbation(row), c) for c in TABLE1["columns"]]
        assert found == figures


@pytest.mark.parametrize(
    ("setting", "row", "what", "column"),
    [
        ({**PAPER, "data": "digits"}, "clean", KINDS["clean"], "M2"),
        ({**PAPER, "network": "resnet34"}, "clean", KINDS["clean"], "M2"),
        ({**PAPER, "width": 16}, "clean", KINDS["clean"], "M2"),
        ({}, "clean", KINDS["clean"], "M2"),
        (PAPER, "apgd-l2", KINDS["l2"], "M2"),
        (PAPER, "clean", KINDS["clean"], "mine"),
        (PAPER, "pgd-l2", {"kind": "l2", "eps": 0.5}, "M2"),
        (PAPER, "pgd-l2", {"kind": "linf", "eps": 1.0}, "M2"),
        (PAPER, "pgd-l2", {"kind": "l2"}, "M2"),
        (PAPER, "pgd-linf", {"kind": "linf", "eps": 0.0314}, "M2"),
        (PAPER, "fog", {"kind": "fog", "t": 0.13, "light": 0.6}, "M2"),
        (PAPER, "snow", {"kind": "snow", "darkness": 2.0}, "M2"),
        (PAPER, "fog", KINDS["fog"], "MSD"),  # the paper has no figure there
    ],
)
def test_no_figure_where_the_setting_differs(setting, row, what, column):
    assert paper_figure(setting, row, what, column) is None


def test_rounded_linf_radius_still_matches():
    assert paper_figure(PAPER, "pgd-linf", {"kind": "linf", "eps": 0.0313725}, "M2") == 39.29


def test_paper_figures_only_for_the_rows_that_match(tmp_path):
    run = write_outcomes(tmp_path / "r", SMALL, setting=PAPER)
    content = json.loads((run / "results.json").read_text())
    content["rows"]["pgd-l2"]["perturbation"]["eps"] = 0.5
    (run / "results.json").write_text(json.dumps(content))
    found = json.loads(to_json(make_table(read_results(run))))
    assert found["paper"] == {"clean": [95.25, 80.73], "fog": [40.34, 20.88]}
