"""``morex run`` and ``morex plan``."""

import re
from pathlib import Path

import pytest
import yaml
from calling import FinishedRun, call, stage_lines
from tiny import raw_recipe

import morex.run
import morex.run.partial_results
from morex.cli.report import report_even_if_stopped
from morex.run import Event, Finished, Observer


def test_run_reports_every_stage_in_plain_lines_and_ends_with_the_table(
    finished: FinishedRun,
) -> None:
    folder, out, err = finished
    lines = stage_lines(err)
    assert [line.split()[0] for line in lines] == [f"[{i}/10]" for i in range(1, 11)]
    done = {re.split(r"\d+\.\d s", line.partition("] ")[2])[0].strip() for line in lines}
    models = ("clean", "Minf", "Mfog", "MoRE")
    assert done == {
        *(f"train {name}" for name in models),
        *(f"evaluate {name}" for name in models),
        "warm up gate of MoRE",
        "illustrate MoRE",
    }
    assert "\x1b" not in out + err
    *table, summary, report = out.splitlines()
    assert any(line.split()[:1] == ["union"] for line in table)
    assert re.fullmatch(
        rf"done in .+; results are in {folder}; show them again with: morex table {folder}", summary
    )
    assert report == f"report: {folder / 'report.html'}"


def test_run_again_skips_everything(finished: FinishedRun) -> None:
    folder = finished.folder
    code, _, err = call("run", folder / "recipe.yaml", "--out", folder)
    assert code == 0
    assert err.count("done before") == len(stage_lines(err)) == 10


def test_plan_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw_recipe("clean", "Minf", "Mfog", "MoRE")))
    code, out, err = call("plan", "tiny.yaml")
    assert code == 0, err
    for stage in ("train-clean", "gate-more", "train-more", "evaluate-more", "9 stages"):
        assert stage in out
    assert {p.name for p in tmp_path.iterdir()} == {"tiny.yaml"}


def test_an_interrupted_run_shows_the_results_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do_run = morex.run.run

    def interrupted(*arguments: object, observer: Observer, **options: object) -> None:
        def interrupt(event: Event) -> None:
            observer(event)
            if isinstance(event, Finished) and event.stage.id == "evaluate-minf":
                raise KeyboardInterrupt

        do_run(*arguments, observer=interrupt, **(options | {"jobs": 1}))  # type: ignore[arg-type]

    monkeypatch.setattr(morex.run, "run", interrupted)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw_recipe("clean", "Minf")))
    out = tmp_path / "run"
    code, _, err = call("run", tmp_path / "tiny.yaml", "training.epochs=1", "--out", out)
    assert code == 130
    assert f"results so far: {out / 'report.html'}\n" in err
    html = (out / "report.html").read_text()
    assert "Not evaluated yet: Minf" in html


def test_a_run_that_ends_without_results_shows_its_own_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="why"), report_even_if_stopped(tmp_path / "none"):
        raise ValueError("why")
    assert capsys.readouterr() == ("", "")
