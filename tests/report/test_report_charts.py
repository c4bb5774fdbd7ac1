"""The charts and pictures of the page show what the run's files hold."""

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from report_page import page, shown
from report_run import FACTORS, ROWS

from morex.artifacts.class_words import NOT_FINITE
from morex.artifacts.gate_usage import GateUsage
from morex.artifacts.illustration import Illustration
from morex.artifacts.outcomes import Outcomes
from morex.report.charts import Line, LineAxes, line_chart
from morex.report.charts.svg import SERIES
from morex.report.images import magnification, magnified
from morex.report.material import read_material
from morex.report.sections.breaks import overlaps
from morex.report.sections.classes import confusion
from morex.report.sections.gate import _message


def test_every_chart_has_marks_a_message_and_its_numbers(run: Path) -> None:
    html = page(run)
    figures = re.findall(r'<figure class="chart.*?</figure>', html, re.DOTALL)
    assert len(figures) >= 9
    for figure in figures:
        assert len(re.findall(r'class="[^"]*\bmark\b', figure)) >= 4
        assert re.search(r"<h3>[^<]{15,}</h3>", figure)
        assert "<summary>The numbers</summary>" in figure
        assert figure.count("<tr>") >= 3
        assert "nan" not in re.sub(r"<[^>]*title[^>]*>", "", figure)


def test_marks_stay_inside_their_drawings(run: Path) -> None:
    for drawing in re.findall(r"<svg.*?</svg>", page(run), re.DOTALL):
        size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)
        assert size
        width, height = map(float, size.groups())
        for limit, names in ((width, ("x", "x1", "x2", "cx")), (height, ("y", "y1", "y2", "cy"))):
            for value in re.findall(rf' (?:{"|".join(names)})="(-?[\d.]+)"', drawing):
                assert -1 <= float(value) <= limit + 1
        for path in re.findall(r' d="([^"]*)"', drawing):
            points = re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", path)
            assert points
            for x, y in points:
                assert -1 <= float(x) <= width + 1
                assert -1 <= float(y) <= height + 1


def test_series_differ_by_shape_and_dash_not_by_colour_alone(run: Path) -> None:
    html = page(run)
    curves = html[html.index('id="curves-1"') :]
    keys = re.findall(r'<button[^>]*data-toggle="([^"]*)">(.*?)</button>', curves, re.DOTALL)[:2]
    assert [name for name, _ in keys] == ["MoRE", "AVG"]
    outlines = {re.sub(r"[\d.,-]+", "", re.search(r' d="([^"]*)"', key)[1]) for _, key in keys}
    assert len(outlines) == 2


def test_overlaps_count_every_image_once() -> None:
    rng = np.random.default_rng(1)
    rows = ("a", "b", "c")
    outcomes = Outcomes(
        {row: rng.random(60) < 0.5 for row in rows[:2]} | {"c": rng.random(50) < 0.3}
    )
    found, sizes, total = overlaps(outcomes)
    assert total == 50 == sum(overlap.count for overlap in found)
    for broken in product([False, True], repeat=3):
        wanted = sum(
            all(~outcomes.right[row][i] == b for row, b in zip(rows, broken, strict=True))
            for i in range(50)
        )
        sets = tuple(row for row, b in zip(rows, broken, strict=True) if b)
        assert sum(o.count for o in found if o.sets == sets) == wanted
    assert sizes == {row: int((~outcomes.right[row][:50]).sum()) for row in rows}


def test_hard_classes_are_those_of_the_outcomes(run: Path) -> None:
    material = read_material(run)
    labels = np.array(material.labels)
    right = material.outcomes["MoRE"].right
    means = {
        k: np.mean([100 * r[labels[: len(r)] == k].mean() for r in right.values()])
        for k in range(3)
    }
    table = shown(run).table("class")
    assert [row[0] for row in table[1:]] == [f"class {k}" for k in sorted(means, key=means.get)]
    assert float(table[1][-1]) == pytest.approx(min(means.values()), abs=0.06)


def test_confusions_count_the_predictions() -> None:
    matrix = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    unsaid = confusion(np.array([0, 1, 1]), np.array([NOT_FINITE, 1, NOT_FINITE]), 2)
    assert unsaid.tolist() == [[0, 0, 1], [0, 1, 1]]


def test_curves_have_the_accuracy_at_every_strength(run: Path) -> None:
    curve = Illustration.load(run / "illustrations/MoRE.npz").curves["linf"]
    html = shown(run)
    table = next(t for t in html.tables if t[0][:3] == ["perturbation", "model", "strength"])
    found = [r for r in table[1:] if r[:2] == ["linf", "MoRE"]]
    assert [float(r[2]) for r in found] == [*FACTORS]
    assert [float(r[3]) for r in found] == [round(100 * r.mean(), 1) for r in curve.right]


def test_curves_name_the_strength_of_their_own_perturbation(run: Path) -> None:
    content = json.loads((run / "results.json").read_text())
    content["rows"]["pgd-small"] = content["rows"]["pgd-linf"]  # of another ball of the same kind
    content["perturbations"]["linf"]["eps"] = 4 / 255
    (run / "results.json").write_text(json.dumps(content))
    assert "multiple of linf eps 4/255" in page(run)


def test_more_series_than_colours_begin_again() -> None:
    lines = [Line(str(n), n, [(0, 1, ""), (1, 2, "")]) for n in range(SERIES + 1)]
    drawn = line_chart(lines, LineAxes("x", "y", (0, 3)), "many")
    looks = re.findall(r'class="(line [^"]*)"', drawn)
    assert len(looks) == len(lines)
    assert looks[SERIES] == looks[0]


def test_a_gate_without_measurements_is_left_out(run: Path) -> None:
    content = json.loads((run / "results.json").read_text())
    content["columns"]["MoRE"]["gate"] |= {"weights": {}, "leads": {}, "entropy": {}}
    (run / "results.json").write_text(json.dumps(content))
    assert 'id="gate"' not in page(run)


def test_one_validation_does_not_show_whether_a_training_still_improves(run: Path) -> None:
    for path in (run / "stages").iterdir():
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"history": record["history"][:1]}))
    assert "<h3>Accuracy on validation images</h3>" in page(run)
    assert "at their best when they ended" not in page(run)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (
            {"a": (0.1, 0.9), "b": (0.2, 0.8)},
            "does not tell perturbations apart: robust has the most weight, 0.80 to 0.90",
        ),
        (
            {"a": (0.49, 0.51), "b": (0.51, 0.49)},
            "does not tell perturbations apart: clean and robust have the most weight, 0.51 to",
        ),
        (
            {"a": (0.9, 0.1), "b": (0.4, 0.6)},
            "tells perturbations apart: clean gets a; the weight of b is spread",
        ),
        (
            {"a": (0.9, 0.1), "b": (0.1, 0.9)},
            "tells perturbations apart: clean gets a, robust gets b",
        ),
        (
            {"a": (0.6, 0.4), "b": (0.4, 0.6)},
            "tells perturbations apart: the weight of a and b is spread",
        ),
        ({"a": (0.9, 0.1)}, "gives clean the most weight under a, 0.90"),
    ],
)
def test_the_message_of_a_gate_matches_its_weights(
    weights: dict[str, tuple[float, float]], told: str
) -> None:
    gate = GateUsage(experts=("clean", "robust"), weights=weights, leads=weights, n=5)
    assert _message(gate).startswith(told)


def test_differences_are_magnified_as_far_as_they_fit() -> None:
    assert magnification(np.array([0.01, -0.02])) == 20
    assert magnification(np.array([0.9])) == 1
    assert magnified(np.array([0.0, 0.02, -0.5]), 10).tolist() == pytest.approx([0.5, 0.7, 0.0])


# --- pictures


def test_the_gallery_shows_the_illustration(run: Path) -> None:
    found = Illustration.load(run / "illustrations/MoRE.npz").pictures
    assert found
    html = page(run)
    sheets = re.findall(r'<article class="exhibit".*?</article>', html, re.DOTALL)
    assert len(sheets) == len(found.index) == 12
    for p, sheet in enumerate(sheets):
        right = found.said[:, p] == found.labels[p]
        assert f"Test image {100 + found.index[p]}:" in sheet
        assert ("Right under every attack" in sheet) == bool(right.all())
        weights = [round(100 * float(w)) for w in found.weights[:, p].T.flatten()]
        assert [int(w) for w in re.findall(r'<span style="width:(\d+)%"', sheet)] == weights
        said = re.findall(r'<td class="(right|wrong)" title="class (\d), ', sheet)
        assert [int(k) for _, k in said] == found.said[:, p].tolist()
        assert [word == "right" for word, _ in said] == right.tolist()
        assert sheet.count("data:image/png;base64,") == 2 * len(ROWS) - 1
