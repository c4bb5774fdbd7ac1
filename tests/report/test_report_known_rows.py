"""Models are compared on rows that both were trained for, or neither."""

from pathlib import Path
from typing import Any

import pytest
from report_table import write_outcomes

from morex.report.known_rows import rows_both_know, what_is_new
from morex.report.material import read_material
from morex.report.results import read_results
from morex.report.sections.cost import cost_figure
from morex.report.sections.summary import result

PERTURBATIONS = {
    "clean": {"kind": "clean"},
    "linf": {"kind": "linf", "eps": 0.1},
    "fog": {"kind": "fog", "t": 0.15, "light": 0.6},
    "rain": {"kind": "snow", "darkness": 1.0},
}
ROWS = ("clean", "pgd-linf", "fog", "snow")  # what the recipe calls rain is a row of kind snow


def stage(model: str, *against: str, kind: str = "train") -> dict[str, Any]:
    return {"kind": kind, "model": model, "against": list(against)}


STAGES = {
    "train-old": stage("old", "clean", "linf", "fog"),
    "train-weather": stage("weather", "fog", "rain"),
    "train-only-fog": stage("only-fog", "fog"),
    "train-new": stage("new", "clean", "linf"),
    "gate-new": stage("new", "clean", "rain", kind="gate"),
    "evaluate-old": stage("old", "rain", kind="evaluate"),
}
GATE = {"experts": ["old", "weather"], "weights": {}, "leads": {}, "n": 1}


def run_of(path: Path, right: dict[str, dict[str, str]], **more: Any) -> Path:
    kinds = {"perturbations": PERTURBATIONS, "stages": STAGES}
    return write_outcomes(path, right, rows=ROWS, **{**kinds, **more})


def same(bits: str) -> dict[str, str]:
    return dict.fromkeys(ROWS, bits)


@pytest.mark.parametrize(
    ("one", "other", "rows"),
    [
        ("old", "new", ("clean", "pgd-linf")),  # fog is new to new, rain to old
        ("old", "only-fog", ("clean", "fog", "snow")),  # neither knows rain
        ("old", "mixture", ("clean", "pgd-linf", "fog")),  # it knows what its experts know
        ("mixture", "old", ("clean", "pgd-linf", "fog")),
        ("old", "foreign", ROWS),  # nothing is known about that one
        ("old", "old", ROWS),
    ],
)
def test_shared_rows_are_known_to_both_or_to_neither(
    tmp_path: Path, one: str, other: str, rows: tuple[str, ...]
) -> None:
    models = ("old", "new", "only-fog", "weather", "mixture", "foreign")
    right = {model: same("10") for model in models}
    run = run_of(tmp_path / "run", right, about={"mixture": {"gate": GATE}})
    assert rows_both_know(read_results(run).file, one, other) == rows


def test_compositions_are_known_only_as_a_whole(tmp_path: Path) -> None:
    parts = {"kind": "around", "parts": [PERTURBATIONS["fog"], PERTURBATIONS["linf"]]}
    known = {"train-a": stage("a", "foggy"), "train-b": stage("b", "fog", "linf")}
    run = run_of(
        tmp_path / "run",
        {"a": same("1"), "b": same("1")},
        stages=known,
        perturbations=PERTURBATIONS | {"foggy": parts},
    )
    file = read_results(run).file
    assert rows_both_know(file, "a", "b") == ("clean", "snow")


def test_what_is_new_is_told_once_for_models_with_the_same_news(tmp_path: Path) -> None:
    models = ("old", "new", "only-fog", "weather")
    file = read_results(run_of(tmp_path / "run", {m: same("10") for m in models})).file
    assert what_is_new(file, [("old", "old"), ("new", "new")]) == ""
    assert what_is_new(file, [("weather", "only-fog")]) == (
        "The row snow is new to only-fog, which was not trained for it."
    )
    assert what_is_new(file, [("weather", "old"), ("weather", "only-fog")]).startswith(
        "The row pgd-linf is new to weather, which was not trained for it. "
        "The row snow is new to old and only-fog, which were not trained for it."
    )


def test_several_new_rows_are_listed(tmp_path: Path) -> None:
    known = {"train-a": stage("a", "linf"), "train-b": stage("b", "linf", "fog", "rain")}
    file = read_results(
        run_of(tmp_path / "run", {"a": same("1"), "b": same("1")}, stages=known)
    ).file
    assert what_is_new(file, [("a", "b")]) == (
        "The rows fog and snow are new to a, which was not trained for them."
    )


RIGHT = {
    "old": {**same("1110"), "snow": "0000"},
    "new": {"clean": "1110", "pgd-linf": "1010", "fog": "1110", "snow": "1110"},
}
EXTENDED = {
    "train-old": stage("old", "clean", "linf", "fog"),
    "train-new": stage("new", "clean", "linf", "fog", "rain"),
}


def test_the_headline_does_not_count_a_row_that_is_new_to_the_rival(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", RIGHT, stages=EXTENDED)
    assert result(read_material(run)) == (
        "new has the best mean over the 4 rows, 68.8%, but 8.3 points behind old on the 3 rows "
        "that are new to neither; it also gets the most images right under every attack at once, "
        "50.0%, 25.0 points fewer than old on the 3 rows that are new to neither, which may be "
        "chance (McNemar's exact test: p = 1, not corrected for choosing the best). The row snow "
        "is new to old, which was not trained for it."
    )


def test_the_price_of_a_lead_does_not_count_it_either(tmp_path: Path) -> None:
    cost = {"backward": 0, "seconds": 1.0}
    about = {
        name: {"training_with_parents": {"forward": passes, **cost}, "trained_on": "single: clean"}
        for name, passes in (("old", 100), ("new", 103))
    }
    figure = cost_figure(
        read_material(run_of(tmp_path / "run", RIGHT, stages=EXTENDED, about=about))
    )
    assert figure
    assert figure.message == (
        "new is 8.3 points below old on the 3 rows that are new to neither for hardly more passes"
    )


def test_models_without_a_common_row_are_not_compared(tmp_path: Path) -> None:
    right = {"a": {"fog": "1110", "snow": "1110"}, "b": {"fog": "0100", "snow": "0100"}}
    stages = {"train-a": stage("a", "fog"), "train-b": stage("b", "rain")}
    run = write_outcomes(
        tmp_path / "run", right, rows=("fog", "snow"), stages=stages, perturbations=PERTURBATIONS
    )
    told = result(read_material(run))
    assert "points" not in told
    assert "The row fog is new to b" in told
    assert "The row snow is new to a" in told
