"""The commands that write pages, and event files."""

import re
import webbrowser
from pathlib import Path

import pytest
import yaml
from calling import call
from PIL import Image
from report_run import write_run
from tiny import changed, raw_recipe

import morex.run
from morex.data import load_data
from morex.run import Event, Finished, Observer

REPORT = {"models": ["MoRE"], "examples": 6, "pictures": 2, "steps": 1, "factors": [0, 1]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with events, made by the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("cli")
    raw = changed(raw_recipe("clean", "Minf", "Mfog", "MoRE"), "report", REPORT)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(raw))
    options = ("training.epochs=1", "--tensorboard", "--out", folder / "run")
    code, out, err = call("run", folder / "tiny.yaml", *options)
    assert code == 0, err
    return folder / "run", out


def test_a_run_ends_with_its_report(made: tuple[Path, str]) -> None:
    run, out = made
    assert out.splitlines()[-1] == f"report: {run / 'report.html'}"
    html = (run / "report.html").read_text()
    assert 'class="exhibit"' in html


def test_report_writes_the_page_again_and_opens_it(
    made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = made
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


def test_a_run_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    code, _, err = call("report", tmp_path / "nowhere")
    assert code == 2
    assert "no run directory" in err


def test_an_interrupted_run_shows_what_there_is_so_far(
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


def test_event_files_hold_the_trainings(made: tuple[Path, str]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = made
    found = {path.name for path in (run / "events").iterdir()}
    assert found == {"train-clean", "train-Minf".lower(), "train-mfog", "gate-more", "train-more"}
    events = EventAccumulator(str(run / "events/train-clean")).Reload()
    assert events.Tags()["scalars"] == ["loss", "validation"]
    (last,) = events.Scalars("validation")[-1:]
    html = (run / "report.html").read_text()
    assert re.search(
        rf"<td>clean</td><td>1</td><td>clean</td><td>{100 * last.value:.1f}</td>", html
    )


def test_predict_makes_a_page_of_one_s_own_pictures(made: tuple[Path, str], tmp_path: Path) -> None:
    pixels = load_data("digits").test.images[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).resize((40, 40)).save(tmp_path / "mine.png")
    target = tmp_path / "page.html"
    model = made[0] / "models/more"
    code, out, err = call("predict", "--model", model, tmp_path / "mine.png", "--report", target)
    assert code == 0, err
    line, last = out.splitlines()
    assert last == f"report: {target}"
    said = re.fullmatch(
        r".*mine\.png: (\d) \((.*)%\); gate: clean (.+), Minf (.+), Mfog (.+)", line
    )
    assert said
    html = target.read_text()
    assert f"mine.png is {said[1]} ({said[2]}%)" in html
    weights = re.findall(r"<td>([\d.]+)</td><td>says \d</td>", html)
    assert weights == [*said.groups()[2:]]
    assert "http" not in re.sub(r'data:[^"]*', "", html)
