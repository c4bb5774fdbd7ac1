"""The page of a run whose files are missing, damaged or large."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from report_page import Reader, page, shown
from report_run import FINDINGS, RECORD, ROWS, write_run

from morex.report.page import write_report


def test_a_run_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run directory"):
        write_report(tmp_path / "nowhere")


def test_a_run_in_which_nothing_is_evaluated_shows_its_trainings(tmp_path: Path) -> None:
    found = shown(write_run(tmp_path / "run", evaluated=0))
    assert "No model is evaluated yet" in found.text
    assert "Not evaluated yet: clean, Mfog, AVG, MoRE" in found.text
    assert found.table("training")[1][0] == "clean"


@pytest.mark.parametrize("evaluated", [1, 3])
def test_an_unfinished_run_shows_the_results_so_far(tmp_path: Path, evaluated: int) -> None:
    html = page(write_run(tmp_path / "run", evaluated=evaluated))
    assert Reader(html).table("attack")[1][-1] == "–"
    assert 'id="gate"' not in html
    assert "The run is not finished" in html


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        ("illustrations/MoRE.npz", 'id="pictures"'),
        ("test-labels.json", "is the hardest class"),
        ("recipe.yaml", "with all defaults filled in"),
        ("audits/more.json", 'id="audit"'),
    ],
)
def test_missing_files_leave_out_their_part(run: Path, file: str, gone: str) -> None:
    assert gone in page(run)
    (run / file).unlink()
    html = page(run)
    assert gone not in html
    assert "Left out" not in html


@pytest.mark.parametrize(
    "file",
    ["illustrations/MoRE.npz", "test-labels.json", "stages/train-AVG.json", "audits/more.json"],
)
def test_damaged_files_are_named_and_left_out(run: Path, file: str) -> None:
    (run / file).write_bytes(b"\x00damaged")
    text = shown(run).text
    assert "Left out:" in text
    assert Path(file).name in text


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("audits/more.json", {"findings": {"a": 1}}, "findings"),
        ("audits/more.json", {"findings": ["s"]}, "findings.0"),
        (
            "audits/more.json",
            {"findings": [FINDINGS[0] | {"evidence": [1]}]},
            "findings.0.evidence",
        ),
        ("audits/more.json", {}, "findings"),
        ("test-labels.json", {"labels": "many"}, "labels"),
        (
            "stages/train-AVG.json",
            RECORD | {"stage": "train-AVG", "history": [{"epoch": 1}]},
            "history.0.loss",
        ),
    ],
)
def test_files_with_something_else_are_named_and_left_out(
    run: Path, file: str, content: object, told: str
) -> None:
    (run / file).write_text(json.dumps(content))
    text = shown(run).text
    assert re.search(
        rf"Left out:.*{re.escape(file)} does not fit its format: {re.escape(told)}", text
    )


def test_damaged_outcomes_are_an_error(run: Path) -> None:
    (run / "outcomes/0.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="not a readable outcomes file"):
        write_report(run)


def test_a_large_run_is_still_a_small_page(tmp_path: Path) -> None:
    models = tuple(f"model {k}" for k in range(12))
    rows = ROWS | {f"pgd-{k}": {"kind": "linf", "eps": 0.01 * k} for k in range(1, 8)}
    run = write_run(tmp_path / "run", models=models, classes=200, n=4000, size=64, rows=rows)
    target = write_report(run)
    assert target == run / "report.html"
    assert target.stat().st_size < 3_000_000
    found = Reader(target.read_text())
    assert "Of 200 classes, only the hardest and the easiest are shown" in found.text


def test_the_report_never_imports_torch(run: Path) -> None:
    code = (
        "import sys; from morex.report.page import write_report; "
        "import morex.report.comparison, morex.report.predictions; "
        f"write_report({str(run)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
