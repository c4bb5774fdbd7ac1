"""The sentences of the page state what the figures are, for runs whose figures are known."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import places, shown
from report_table import write_outcomes

from morex.artifacts.class_words import NOT_FINITE
from morex.artifacts.gate_usage import GateUsage
from morex.artifacts.illustration import Illustration
from morex.report.material import read_material
from morex.report.sections.breaks import breaks_section
from morex.report.sections.classes import confusions
from morex.report.sections.cost import cost_figure
from morex.report.sections.curves import curves_section
from morex.report.sections.gallery import gallery_section
from morex.report.sections.gate import gate_section
from morex.report.sections.summary import headline, result, standing
from morex.report.sections.training import training_section
from morex.report.sections.trust import audit_section, provenance_section

Right = dict[str, dict[str, str]]
GATE = GateUsage(experts=("a",), weights={"clean": (1.0,)}, leads={"clean": (1.0,)}, n=1).content()


def result_of(run: Path, right: Right, **changes: Any) -> str:
    return result(read_material(write_outcomes(run, right, **changes)))


# --- the result


@pytest.mark.parametrize(
    ("differ", "p", "chance"), [(5, "0.062", ", which may be chance"), (6, "0.031", "")]
)
def test_a_lead_is_called_chance_where_the_test_allows_it(
    tmp_path: Path, differ: int, p: str, chance: str
) -> None:
    right = {"a": {"clean": "1" * 20}, "b": {"clean": "0" * differ + "1" * (20 - differ)}}
    ahead = f"{5 * differ:.1f} points"
    assert result_of(tmp_path / "run", right) == (
        f"a has the best mean over the 1 row, 100.0%, {ahead} ahead of b; it also gets the most "
        f"images right under every attack at once, 100.0%, {ahead} more than b{chance} "
        f"(McNemar's exact test: p = {p}, not corrected for choosing the best)."
    )


def test_mean_and_union_can_be_led_by_different_models(tmp_path: Path) -> None:
    right = {
        "a": {"clean": "1111", "fog": "1000"},  # mean 62.5, union 25
        "b": {"clean": "1100", "fog": "1100"},  # mean 50, union 50
    }
    found = result_of(tmp_path / "run", right)
    assert found.startswith("a has the best mean over the 2 rows, 62.5%, 12.5 points ahead of b; ")
    assert "; b gets the most images right under every attack at once, 50.0%, 25.0 points" in found


def test_the_union_is_compared_with_the_mixture_or_else_with_the_second(tmp_path: Path) -> None:
    right = {
        "low": {"clean": "1000"},
        "second": {"clean": "1110"},
        "best": {"clean": "1111"},
        "mixture": {"clean": "1100"},
    }
    assert "25.0 points more than second" in result_of(tmp_path / "a", right)
    gated = result_of(tmp_path / "b", right, about={"mixture": {"gate": GATE}})
    assert "50.0 points more than mixture" in gated


def test_equal_means_and_empty_unions_are_stated(tmp_path: Path) -> None:
    right = {"a": {"clean": "10", "fog": "01"}, "b": {"clean": "01", "fog": "10"}}
    assert result_of(tmp_path / "run", right) == (
        "a has the best mean over the 2 rows, 50.0%, level with b; "
        "no model gets a single image right under every attack at once."
    )


def test_a_single_model_is_not_compared(tmp_path: Path) -> None:
    assert result_of(tmp_path / "run", {"a": {"clean": "1110"}}) == (
        "a has the best mean over the 1 row, 75.0%; it also gets the most images right under every "
        "attack at once, 75.0%."
    )


def test_the_headline_counts_models_attacks_and_images(tmp_path: Path) -> None:
    right = {"a": {"clean": "11", "fog": "10"}, "b": {"clean": "11", "fog": "10"}}
    whole = read_material(write_outcomes(tmp_path / "a", right))
    about = "digits (8x8), resnet10 of width 8; 2 attacks, 8 test images; seed 7"
    assert headline(whole) == f"2 models trained on {about}"
    part = read_material(write_outcomes(tmp_path / "b", right, missing=["c"]))
    assert headline(part) == f"2 of 3 models evaluated on {about}"


def test_the_chart_of_models_names_the_leaders_and_has_their_figures(tmp_path: Path) -> None:
    right = {
        "a": {"clean": "1111", "fog": "1000"},
        "b": {"clean": "1100", "fog": "1100"},
    }
    figure = standing(read_material(write_outcomes(tmp_path / "run", right)))
    assert figure
    assert figure.message == "a leads in the mean (62.5%), b in the union (50.0%)"
    assert [row[:3] for row in figure.numbers.rows] == [["a", 62.5, 25.0], ["b", 50.0, 50.0]]
    assert [row[5] for row in figure.numbers.rows] == [4, 4]
    at = places(str(figure.panels[0].drawing))
    assert at.keys() == {
        "a: mean 62.5%",
        "a: union 25.0%, 4.6% to 69.9%, n 4",
        "b: mean 50.0%",
        "b: union 50.0%, 15.0% to 85.0%, n 4",
    }
    union, mean = at["a: union 25.0%, 4.6% to 69.9%, n 4"], at["a: mean 62.5%"]
    assert union[0] < at["b: union 50.0%, 15.0% to 85.0%, n 4"][0] < mean[0]


# --- cost


def spent(forward: int, backward: int = 0, trained_on: str = "single: clean") -> dict[str, Any]:
    cost = {"forward": forward, "backward": backward, "seconds": 1.0}
    return {"training_with_parents": cost, "trained_on": trained_on}


def test_the_cost_of_the_best_model_is_set_against_the_best_cheaper_one(tmp_path: Path) -> None:
    right = {
        "cheap": {"clean": "1000"},
        "good": {"clean": "1100"},
        "best": {"clean": "1111"},
        "dear": {"clean": "1110"},
    }
    about = {
        "cheap": spent(5, 5),
        "good": spent(10, 10),
        "best": spent(30, 20, "max: clean, fog") | {"gate": GATE},
        "dear": spent(400, 0, "max: clean, fog"),
    }
    figure = cost_figure(read_material(write_outcomes(tmp_path / "run", right, about=about)))
    assert figure
    assert figure.message == "best is 50.0 points above good for 2.5 times the passes"
    assert figure.numbers.rows == [
        ["cheap", "single expert", 10, 25.0],
        ["good", "single expert", 20, 50.0],
        ["best", "mixture", 50, 100.0],
        ["dear", "one network, several perturbations", 400, 75.0],
    ]


def test_the_best_model_can_be_the_cheapest(tmp_path: Path) -> None:
    right = {"best": {"clean": "1111"}, "dear": {"clean": "1110"}}
    about = {"best": spent(10), "dear": spent(20)}
    figure = cost_figure(read_material(write_outcomes(tmp_path / "run", right, about=about)))
    assert figure
    assert figure.message == "best has the best mean and is the cheapest to train"


# --- what breaks what


@pytest.mark.parametrize(
    ("clean", "fog", "pgd", "told"),
    [
        (
            "111111",
            "111010",
            "100011",
            "2 of 6 images survive every attack; 2 fall to pgd-l2 alone",
        ),
        ("1110", "1010", "1010", "2 of 4 images survive every attack; fog breaks the most (2)"),
    ],
)
def test_overlaps_are_summed_up(tmp_path: Path, clean: str, fog: str, pgd: str, told: str) -> None:
    right = {"a": {"clean": clean, "fog": fog, "pgd-l2": pgd}}
    section = breaks_section(read_material(write_outcomes(tmp_path / "run", right)))
    assert section
    assert section.figures[0].message == f"a: {told}"


def test_rare_overlaps_are_counted_but_not_drawn(tmp_path: Path) -> None:
    bits = [f"{k:04b}" for k in range(16)]  # every combination of four attacks once
    rows = ("clean", "fog", "pgd-l2", "pgd-linf")
    right = {"a": {row: "".join(b[i] for b in bits) for i, row in enumerate(rows)}}
    section = breaks_section(read_material(write_outcomes(tmp_path / "run", right)))
    assert section
    (figure,) = section.figures
    assert "Rarer combinations (4) are listed only in the numbers." in figure.note
    assert len(figure.numbers.rows) == 16


def test_the_most_frequent_mistake_is_named(run: Path) -> None:
    found = Illustration.load(run / "illustrations/MoRE.npz")
    mistakes = Counter(
        (row, int(true), int(said))
        for row, answers in found.answers.items()
        for true, said in zip(found.labels, answers, strict=True)
        if true != said
    )
    figure = confusions(read_material(run), "MoRE")
    assert figure
    named = re.fullmatch(
        r"MoRE: class (\d) is most often mistaken for class (\d), (\d+) of (\d+) times under (\S+)",
        figure.message,
    )
    assert named
    true, said, count, total = map(int, named.groups()[:4])
    assert count == mistakes[named[5], true, said] == max(mistakes.values())
    assert total == (found.labels == true).sum()
    counts = [row[3] for row in figure.numbers.rows]
    assert counts == sorted(mistakes.values(), reverse=True)
    (drawing,) = [str(panel.drawing) for panel in figure.panels if panel.caption == named[5]]
    shade = re.search(rf'fill-opacity="([\d.]+)"><title>{count} [^<]*class {true} pre', drawing)
    assert shade
    assert float(shade[1]) == pytest.approx(0.04 + 0.96 * count / total, abs=0.01)


def test_answers_that_are_not_finite_are_no_class(run: Path) -> None:
    path = run / "illustrations/MoRE.npz"
    found = Illustration.load(path)
    answers, shown = {**found.answers}, found.pictures
    assert shown is not None
    answers["fog"] = np.full_like(answers["fog"], NOT_FINITE)
    nothing = replace(
        shown,
        said=np.full_like(shown.said, NOT_FINITE),
        confidence=np.zeros_like(shown.confidence),
        experts_say=np.full_like(shown.experts_say, NOT_FINITE),
        weights=np.full_like(shown.weights, np.nan),
    )
    replace(found, answers=answers, pictures=nothing).save(path)
    material = read_material(run)
    figure = confusions(material, "MoRE")
    assert figure
    numbers = [row for row in figure.numbers.rows if row[0] == "fog"]
    assert {row[2] for row in numbers} == {"not finite"}
    assert sum(row[3] for row in numbers) == len(found.labels)
    assert re.fullmatch(
        r"MoRE: its answer to class \d is not finite (\d+) of \1 times under fog", figure.message
    )
    drawings = {panel.caption: str(panel.drawing) for panel in figure.panels}
    assert "predicted as not finite" in drawings["fog"]
    assert "not finite" not in drawings["clean"]
    section = gallery_section(material)
    assert section
    for exhibit in section.content["exhibits"]:
        for cell in exhibit.cells:
            assert (cell.said, cell.right, cell.confidence) == ("not finite", False, 0)
            assert {(e.said, e.right, e.weight) for e in cell.experts} == {
                ("not finite", False, None)
            }


# --- curves, gates and pictures


def test_curves_end_where_the_perturbation_is_strongest(run: Path) -> None:
    curves = Illustration.load(run / "illustrations/MoRE.npz").curves
    section = curves_section(read_material(run))
    assert section
    (figure,) = section.figures
    ends = [f"{100 * c.right[-1].mean():.1f}% at 2 times {name}" for name, c in curves.items()]
    assert figure.message == f"MoRE falls to {', '.join(ends[:-1])} and {ends[-1]}"
    drawing = str(figure.panels[0].drawing)
    [usual] = [x for tip, (x, _) in places(drawing).items() if tip.startswith("MoRE at 1: ")]
    rule = re.search(r'x1="([\d.]+)"[^>]*class="rule"', drawing)
    assert rule
    assert float(rule[1]) == pytest.approx(usual, abs=5)  # half a marker
    half = (1.96**2 / 80 + 0.25) ** 0.5 * 1.96 / 20**0.5 / (1 + 1.96**2 / 20)  # n = 20, p = 1/2
    widest = int(figure.note.split("±")[1].split()[0])
    assert widest == pytest.approx(100 * half, abs=1)


def test_weights_and_leads_of_a_gate_are_told_apart(run: Path) -> None:
    section = gate_section(read_material(run))
    assert section
    (figure,) = section.figures
    assert figure.numbers.rows[-1] == ["fog", 0.05, 0.95, 0.25, 0.75, 0.5]
    assert "equal weights have 1.00." in figure.note
    assert figure.message == (
        "MoRE tells perturbations apart: Mfog gets fog; the weight of clean, pgd-l2 and pgd-linf "
        "is spread"
    )
    leads = str(figure.panels[1].drawing)
    assert "Mfog has the largest weight on a share of 0.750" in leads


def test_the_gallery_counts_what_the_model_gets_right(run: Path) -> None:
    found = Illustration.load(run / "illustrations/MoRE.npz").pictures
    assert found
    standing = int((found.said == found.labels).all(0).sum())
    section = gallery_section(read_material(run))
    assert section
    assert f"12 test images and the predictions of MoRE, which gets {standing} of" in section.intro
    for p, exhibit in enumerate(section.content["exhibits"]):
        wrong = found.rows[found.said[:, p] != found.labels[p]].tolist()
        assert [row for row in wrong if row in exhibit.broken_by] == wrong
        assert bool(exhibit.broken_by) == bool(wrong)


# --- trainings


def judged(run: Path, histories: dict[str, list[tuple[float, float | None]]]) -> None:
    """Give trainings epochs of (loss, score); all others lose theirs."""
    for path in (run / "stages").iterdir():
        model = path.stem.removeprefix("train-")
        history = [
            {"epoch": n, "loss": loss, "learning_rate": 0.1}
            | ({} if score is None else {"score": score, "validation": [score, score]})
            for n, (loss, score) in enumerate(histories.get(model, ()), 1)
        ]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"history": history}))


def test_a_training_that_overfitted_its_single_step_is_named(run: Path) -> None:
    path = run / "stages/train-AVG.json"
    history = [
        {"epoch": n, "loss": 1.0, "learning_rate": 0.1, "score": pgd}
        | {"validation": [0.5, pgd], "single_step": [0.5, single]}
        for n, (pgd, single) in enumerate([(0.4, 0.5), (0.0, 0.9)], 1)
    ]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"history": history}))
    section = training_section(read_material(run))
    assert section
    assert " AVG: catastrophic overfitting in epoch 2: " in section.intro
    assert "MoRE: catastrophic" not in section.intro


def test_trainings_at_their_best_and_falling_losses_are_counted(run: Path) -> None:
    judged(
        run,
        {
            "clean": [(2.0, 0.2), (1.0, 0.6)],
            "Mfog": [(1.0, 0.9), (0.5, 0.8)],
            "AVG": [(1.0, 0.1), (3.0, 0.3), (2.0, 0.5)],
            "MoRE": [(1.0, None), (0.5, 0.7)],  # judged once: says nothing about rising
        },
    )
    section = training_section(read_material(run))
    assert section
    validations, losses = section.figures
    assert validations.message == "2 of 3 trainings were at their best when they ended"
    assert "Trainings that were validated once are listed only in the numbers." in validations.note
    assert validations.numbers.rows[0] == ["clean", 1, "clean", 20.0]
    assert len(validations.panels) == 3
    at = places(str(validations.panels[0].drawing))
    rise = at["epoch 1: 20.0% on clean"][1] - at["epoch 2: 60.0% on clean"][1]
    assert rise == pytest.approx(0.4 * (180 - 24 - 38), abs=0.5)  # of the height of the axis
    assert losses.message == "The loss ended below its start in 3 of 4 trainings"


# --- what it rests on


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (("pass", "flag", "flag"), "2 of 3 points flagged."),
        (("pass", "flag", "too few to say"), "1 of 3 points flagged."),
        (("pass", "too few to say", "pass"), "Too few images to say: 1 of 3 points."),
        (
            ("pass", "does not apply", "pass"),
            "No sign of masking, which does not mean that the model is robust.",
        ),
    ],
)
def test_flags_of_audits_are_counted(run: Path, verdicts: tuple[str, ...], told: str) -> None:
    findings = [
        {"point": n, "name": "n", "verdict": verdict, "evidence": {}, "reason": "r"}
        for n, verdict in enumerate(verdicts, 1)
    ]
    (run / "audits/more.json").write_text(json.dumps({"findings": findings}))
    section = audit_section(read_material(run))
    assert section
    assert section.intro.endswith(told)


def test_work_is_the_sum_of_the_stages(run: Path) -> None:
    content = json.loads((run / "results.json").read_text())
    for n, stage in enumerate(content["stages"].values()):
        stage |= {"seconds": 10.0 * (n + 1), "finished": f"2026-01-0{n + 1}"}
    (run / "results.json").write_text(json.dumps(content))
    facts = provenance_section(read_material(run)).content["facts"]
    assert facts["stages"] == (
        "4 stages finished in 1 min 40 s of work, the last at 2026-01-04, from 1 commit (abcdef)"
    )


def test_computed_rows_are_set_apart_and_cells_shaded_by_accuracy(tmp_path: Path) -> None:
    right = {"a": {"clean": "1111", "fog": "1000", "pgd-l2": "1100"}}
    run = write_outcomes(tmp_path / "run", right)
    reader = shown(run)
    shades = [v for name, v in reader.attributes if name == "style" and "--shade" in v]
    assert shades == [f"--shade:{round(42 * share)}%" for share in (1, 0.25, 0.5, 0.25, 7 / 12)]
    assert sum(value == "computed" for _, value in reader.attributes) == 2
