"""Models that only guess are called collapsed, and win nothing in tables and pages."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import page, shown
from report_table import write_outcomes

from morex.report import make_table, read_results, to_csv, to_json, to_markdown, to_text
from morex.report.collapse import levels
from morex.report.comparison import to_comparison
from morex.report.material import read_material
from morex.report.sections.cost import cost_figure
from morex.report.sections.summary import result, standing

# 60 images of 3 classes: 30, 20 and 10
LABELS = [0, 1, 0, 1, 0, 2] * 10
IMAGES = {"classes": ["cat", "dog", "cow"], "labels": LABELS, "index": [*range(60)]}
ONE_CLASS = "".join("1" if label == 0 else "0" for label in LABELS)
GOOD = "1" * 45 + "0" * 15
BROKEN = "0" * 60


def run_of(path: Path, right: dict[str, dict[str, str]], **more: Any) -> Path:
    return write_outcomes(path, right, **{"images": IMAGES, **more})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in which a model that says one class has the best mean and the best union."""
    right = {
        "good": {"clean": GOOD, "fog": BROKEN, "pgd-l2": BROKEN},
        "lazy": {"clean": ONE_CLASS, "fog": ONE_CLASS, "pgd-l2": ONE_CLASS},
    }
    return run_of(tmp_path / "run", right)


def called(run: Path) -> dict[str, str]:
    return dict(make_table(read_results(run)).collapsed)


def test_one_class_for_everything_wins_no_mark_and_no_headline(run: Path) -> None:
    table = make_table(read_results(run))
    assert [*table.collapsed] == ["lazy"]
    assert table.mean[1] > table.mean[0]
    assert [table.best(line) for line in ("clean", "fog", "union", "mean")] == [
        (True, False),
        (False, False),
        (False, False),
        (True, False),
    ]
    told = result(read_material(run))
    assert told.startswith("good has the best mean over the 3 rows, 25.0%; no model but col")
    assert told.endswith("lazy is collapsed and left out; the notes under the table say why.")
    figure = standing(read_material(run))
    assert figure
    assert (
        figure.message
        == "good leads in the mean (25.0%); every union but those of collapsed models is empty"
    )
    assert "lazy (collapsed)" in str(figure.panels[0].drawing)
    assert read_material(run).lead == "good"


def test_every_format_says_which_model_is_collapsed_and_why(run: Path) -> None:
    table = make_table(read_results(run))
    why = "its accuracy on clean images, 50.0%, is not above the majority level, 50.0%"
    note = f"lazy is collapsed and never marked as best: {why}"
    guessing = "chance level 33.3% (3 classes); majority level 50.0% (always predicting cat)"
    for text in (to_text(table), to_markdown(table), shown(run).text):
        assert note in text
        assert guessing in text
    assert "(collapsed)" in to_text(table).split("clean")[0]
    lines = to_markdown(table).splitlines()
    assert "| attack | good | lazy (collapsed) |" in lines
    assert "| fog | 0.0 | 50.0 |" in lines
    assert "| clean | **75.0** | 50.0 |" in lines
    content = json.loads(to_json(table))
    assert content["collapsed"] == {"lazy": why}
    assert content["levels"] == {"chance": 33.33, "majority": 50.0}
    assert "lazy" in to_csv(table)
    html = page(run)
    assert len(re.findall(r'<td class="best"', html)) == 2
    assert re.search(r"lazy <small title=\"its accuracy[^\"]*\">collapsed</small>", html)


def test_the_predictions_per_class_tell_it_too(tmp_path: Path) -> None:
    right = {name: {"clean": GOOD} for name in ("sound", "nearly", "constant", "silent")}
    about = {
        "sound": {"answers": [26, 20, 14]},
        "nearly": {"answers": [57, 2, 1]},  # of 30 images of other classes, 3
        "constant": {"answers": [0, 60, 0]},
        "silent": {"answers": [0, 0, 0]},  # not one finite answer
    }
    found = called(run_of(tmp_path / "run", right, about=about))
    assert found == {
        "nearly": "it predicts cat for 95.0% of the clean images",
        "constant": "it predicts dog for 100.0% of the clean images",
    }


def test_one_class_for_most_images_is_right_where_most_images_are_of_it(tmp_path: Path) -> None:
    labels = [0] * 95 + [1] * 5
    right = {"good": {"clean": "1" * 100}, "lazy": {"clean": "1" * 95 + "0" * 5}}
    about = {"good": {"answers": [95, 5]}, "lazy": {"answers": [100, 0]}}
    images = {"classes": ["most", "few"], "labels": labels}
    found = called(run_of(tmp_path / "run", right, about=about, images=images))
    assert [*found] == ["lazy"]


@pytest.mark.parametrize(
    ("right", "collapsed"),
    [
        (ONE_CLASS, True),
        ("10" * 30, True),  # half of the images, at random
        ("1" * 32 + "0" * 28, True),  # 53.3%: a gain of two images
        ("1" * 34 + "0" * 26, False),  # 56.7%: more than a tenth of what there is to gain
        (GOOD, False),
        ("0" * 60, True),
    ],
)
def test_accuracy_is_compared_with_the_majority_level(
    tmp_path: Path, right: str, collapsed: bool
) -> None:
    found = called(run_of(tmp_path / "run", {"m": {"clean": right}}))
    assert bool(found) == collapsed


@pytest.mark.parametrize(
    ("lost", "won", "collapsed"),
    [
        (0, 9, False),  # a gain of 9% of what there is to gain; p = 0.004
        (4, 13, False),  # the same gain; p = 0.049
        (5, 14, True),  # the same gain; p = 0.064
        (9, 9, True),
        (13, 4, True),
    ],
)
def test_a_small_gain_counts_if_it_is_significant(
    tmp_path: Path, lost: int, won: int, collapsed: bool
) -> None:
    bits = "0" * lost + "1" * (101 - lost) + "1" * won + "0" * (100 - won)
    images = {"classes": ["a", "b"], "labels": [0] * 101 + [1] * 100}
    run = run_of(tmp_path / "run", {"m": {"clean": bits}}, images=images)
    assert bool(called(run)) == collapsed


def test_what_cannot_be_judged_is_not_called_collapsed(tmp_path: Path) -> None:
    few = {"m": {"clean": "1110000000"}}
    images = {"classes": ["a", "b"], "labels": [0] * 5 + [1] * 5}
    assert not called(run_of(tmp_path / "few", few, images=images))
    right = {"m": {"clean": ONE_CLASS}}
    assert not called(run_of(tmp_path / "unknown", right, images=None))
    assert not called(run_of(tmp_path / "short", right, images=IMAGES | {"labels": LABELS[:10]}))
    only_fog = {"m": {"fog": ONE_CLASS}}
    assert not called(run_of(tmp_path / "fog", only_fog))
    alike = {"m": {"clean": "1" * 60}}
    answers = {"m": {"answers": [60, 0]}}
    one = IMAGES | {"labels": [0] * 60}
    assert not called(run_of(tmp_path / "alike", alike, about=answers, images=one))


def test_damaged_labels_leave_the_table_as_it_is(run: Path) -> None:
    (run / "test-labels.json").write_text("{")
    table = make_table(read_results(run))
    assert table.levels is None
    assert table.collapsed == {}
    assert "majority" not in to_text(table)


def test_a_run_of_collapsed_models_has_no_best(tmp_path: Path) -> None:
    right = {name: {"clean": ONE_CLASS, "fog": ONE_CLASS} for name in "ab"}
    run = run_of(tmp_path / "run", right)
    material = read_material(run)
    assert result(material) == "No model does better than guessing: a and b are collapsed."
    assert "No model does better than guessing" in page(run)
    assert 'class="best"' not in page(run)
    assert material.lead in ("a", "b")


def test_a_collapsed_model_is_no_rival_in_cost_and_leads_no_comparison(tmp_path: Path) -> None:
    cost = {"backward": 0, "seconds": 1.0}
    about = {
        name: {"training_with_parents": {"forward": passes, **cost}, "trained_on": "single: clean"}
        for name, passes in (("lazy", 10), ("good", 30), ("cheap", 20))
    }
    right = {
        "lazy": {"clean": ONE_CLASS, "fog": "1" * 60},
        "good": {"clean": GOOD, "fog": GOOD},
        "cheap": {"clean": GOOD, "fog": BROKEN},
    }
    runs = [run_of(tmp_path / name, right, about=about, seed=n) for n, name in enumerate("ab")]
    figure = cost_figure(read_material(runs[0]))
    assert figure
    assert figure.message == "good is 37.5 points above cheap for 1.5 times the passes"
    html = to_comparison([*map(read_material, runs)])
    assert "good has the best mean over the rows" in html
    assert "Best mean: good in 2 of 2 runs" in html


def test_levels_of_guessing() -> None:
    images = read_images([2, 2, 0, 1])
    known = levels(images)
    assert known
    assert (known.classes, known.chance, known.majority) == (3, pytest.approx(1 / 3), 0.5)
    assert known.class_name == "class 2"
    assert levels(read_images([])) is None


def read_images(labels: list[int]) -> Any:
    from morex.artifacts.labels import TestImages

    return TestImages(labels=tuple(np.array(labels, int).tolist()))
