"""The progress of a run: lines, bars, the time left, and event files."""

import io
import re
from collections.abc import Callable

import pytest
from calling import FinishedRun
from rich.console import Console

from morex.cli.output import say
from morex.cli.progress import Clock, progress
from morex.cli.progress_lines import progress_printer
from morex.run import Finished, Measured, Noticed, Planned, Progressed, Skipped, Stage, Started


def test_live_line_shows_the_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    stages = [Stage("train", "clean", (), {}), Stage("evaluate", "clean", ("train-clean",), {})]
    with progress_printer(console) as observe:
        observe(Planned(tuple(stages), {"train-clean": 10.0, "evaluate-clean": 30.0}))
        observe(Started(stages[0]))
        observe(Progressed(stages[0], 0.5, "epoch 1/2"))
        observe(Finished(stages[0], 2.0, "validation 90.0%"))
        observe(Started(stages[1]))
        observe(Progressed(stages[1], 0.1, "clean 95%"))
        observe.bars.refresh()
        observe(Finished(stages[1], 2.0, "mean 50%"))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "[1/2] train clean" in shown
    assert "all stages" in shown
    assert " left" in shown


def test_clock_extrapolates_each_kind_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock()
    work = {"a": ("train", 10.0), "b": ("evaluate", 100.0), "c": ("train", 30.0)}
    clock.begin(work | {"d": ("evaluate", 100.0), "e": ("train", 99.0)})
    clock.skip("e")
    clock.start("a")
    clock.move("a", 0.0)
    assert clock.time_left() == ""
    now = 5.0
    clock.move("a", 0.5)
    assert clock.time_left() == "about 4 min left"  # 1 s per unit for the 235 that are left
    now = 10.0
    clock.finish("a")
    clock.start("b")
    now = 12.0
    clock.finish("b")  # evaluations: 0.02 s per unit
    clock.start("c")
    clock.move("c", 0.0)
    now = 27.0
    clock.move("c", 0.5)
    assert clock.time_left() == "about 17 s left"


def test_clock_counts_stages_side_by_side_and_resumed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock()
    clock.begin({"a": ("train", 100.0), "b": ("train", 100.0)})
    clock.start("a")
    clock.start("b")
    clock.move("a", 0.3)  # resumed there
    clock.move("b", 0.0)
    now = 10.0
    clock.move("a", 0.4)
    clock.move("b", 0.1)
    assert clock.time_left() == "about 75 s left"  # 150 units at 1 s each, two at a time


def test_event_files_hold_the_trainings(finished: FinishedRun) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = finished.folder
    found = {path.name for path in (run / "events").iterdir()}
    assert found == {"train-clean", "train-Minf".lower(), "train-mfog", "gate-more", "train-more"}
    events = EventAccumulator(str(run / "events/train-clean")).Reload()
    assert events.Tags()["scalars"] == ["loss", "validation"]
    (last,) = events.Scalars("validation")[-1:]
    html = (run / "report.html").read_text()
    assert re.search(
        rf"<td>clean</td><td>1</td><td>clean</td><td>{100 * last.value:.1f}</td>", html
    )


def test_without_a_terminal_there_is_a_line_for_every_finished_stage_and_every_notice() -> None:
    console = Console(file=io.StringIO(), width=150)
    stages = [Stage("train", "clean", (), {}), Stage("evaluate", "clean", ("train-clean",), {})]
    with progress_printer(console) as observe:
        observe(Planned(tuple(stages), {}))
        observe(Noticed("a [file] is damaged"))
        observe(Skipped(stages[0]))
        observe(Started(stages[1]))
        observe(Progressed(stages[1], 0.5, "clean 95%"))
        observe(Measured(stages[1], 1, {"loss": 1.0}))
        observe(Finished(stages[1], 2.0, "mean 50%"))
    assert [line.split() for line in console.file.getvalue().splitlines()] == [
        ["note:", "a", "[file]", "is", "damaged"],
        ["[1/2]", "train", "clean", "done", "before"],
        ["[2/2]", "evaluate", "clean", "2.0", "s", "mean", "50%"],
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The clock of the process, which the function sets."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_a_command_shows_a_bar_with_the_time_left(clock: Callable[[float], None]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    with progress("predict", console=console) as report:
        clock(30.0)
        report(0.25, "[cat].png")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert re.search(r"predict .* 25% \[cat\].png  about 2 min left", shown)


def test_without_a_terminal_a_command_prints_a_line_now_and_then(
    clock: Callable[[float], None],
) -> None:
    console = Console(file=io.StringIO(), width=20)
    with progress("evaluate", start=0.5, console=console) as report:
        for second in range(1, 65):
            clock(second)
            report(0.5 + second / 1000, "pgd-linf")
    assert console.file.getvalue().splitlines() == [
        "evaluate: 53%, pgd-linf, about 8 min left",
        "evaluate: 56%, pgd-linf, about 7 min left",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_go_to_standard_output_and_on_a_terminal_above_the_bar(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    out.isatty = lambda: terminal
    monkeypatch.setattr("sys.stdout", out)
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    with progress("evaluate", console=console) as report:
        report(0.5, "clean")
        say("clean 95%")
    bar = console.file.getvalue()
    assert ("" if terminal else "clean 95%\n") == out.getvalue()
    assert bar.count("\x1b[2Kclean 95%") == terminal  # the bar is erased first


def test_lines_of_a_run_are_aligned() -> None:
    console = Console(file=io.StringIO(), width=200)
    names = ["clean", *(f"a mixture with a long name {i}" for i in range(9))]
    stages = [Stage("evaluate", name, (), {}, suite="adaptive") for name in names]
    with progress_printer(console) as observe:
        observe(Planned(tuple(stages), {}))
        for stage in stages:
            observe(Skipped(stage))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 10
    assert len({line.index("done before") for line in lines}) == 1
