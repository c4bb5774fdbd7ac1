"""``morex report``."""

import webbrowser
from pathlib import Path

import pytest
from calling import FinishedRun, call
from report_run import write_run


def test_a_run_ends_with_its_report(finished: FinishedRun) -> None:
    run, out, _ = finished
    assert out.splitlines()[-1] == f"report: {run / 'report.html'}"
    html = (run / "report.html").read_text()
    assert 'class="exhibit"' in html


def test_report_writes_the_page_again_and_opens_it(
    finished: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished.folder
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    (run / "report.html").unlink()
    assert call("report", run)[0] == 0
    assert (run / "report.html").is_file()
    assert not opened
    code, out, _ = call("report", run, "--open")
    assert (code, out) == (0, f"report: {run / 'report.html'}\n")
    assert opened == [(run / "report.html").resolve().as_uri()]


def test_several_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [write_run(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    code, out, _ = call("report", *runs)
    assert (code, out) == (0, "report: comparison.html\n")
    assert "2 runs compared" in (tmp_path / "comparison.html").read_text()


def test_a_page_is_written_to_another_file_and_nowhere_else(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    target = tmp_path / "new folder" / "one page.html"
    code, out, _ = call("report", runs[0], "--out", target)
    assert (code, out) == (0, f"report: {target}\n")
    assert "made-up: morex report" in target.read_text()
    assert not (runs[0] / "report.html").exists()
    assert call("report", *runs, "--out", target)[0] == 0
    assert "2 runs compared" in target.read_text()


def test_a_folder_as_target_is_one_message(tmp_path: Path) -> None:
    code, _, err = call("report", write_run(tmp_path / "run"), "--out", tmp_path)
    assert code == 2
    assert f"--out {tmp_path} is a folder; give the name of a file" in " ".join(err.split())


def test_a_missing_run_is_one_message(tmp_path: Path) -> None:
    code, _, err = call("report", tmp_path / "nowhere")
    assert code == 2
    assert "no run directory" in err
