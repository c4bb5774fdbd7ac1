"""The report page says what the run's files say, whatever of them is there."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_run import FACTORS, FINDINGS, MODELS, RECORD, ROWS, write_run

from morex.artifacts.gate_usage import GateUsage
from morex.artifacts.illustration import Illustration
from morex.artifacts.outcomes import Outcomes
from morex.report import make_table, read_results, to_csv, to_json
from morex.report.charts import Line, LineAxes, line_chart
from morex.report.charts.svg import SERIES
from morex.report.comparison import to_comparison
from morex.report.images import magnification, magnified
from morex.report.material import read_material
from morex.report.page import to_report, write_report
from morex.report.sections.breaks import overlaps
from morex.report.sections.classes import confusion
from morex.report.sections.gate import _message


class Reader(HTMLParser):
    """Takes a page apart: tables as rows of text, all text, attributes by name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.in_cell:
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def table(self, first: str) -> list[list[str]]:
        """Return the first table whose head begins with a word."""
        return next(t for t in self.tables if t[0][0].strip() == first)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def page(run: Path) -> str:
    return to_report(read_material(run))


def shown(run: Path) -> Reader:
    return Reader(page(run))


# --- the table and the result


def test_every_figure_of_the_table_is_that_of_the_outcomes(run: Path) -> None:
    table = make_table(read_results(run))
    rows = {row[0].strip(): row[1:] for row in shown(run).table("attack")[1:]}
    assert [name for name in rows if name in table.values] == [*table.values]
    for name, values in table.values.items():
        counted = table.measured.get(name, (None,) * len(values))
        for text, value, cell in zip(rows[name], values, counted, strict=True):
            wanted = f"{100 * value:.1f}"
            if cell:
                wanted += "–".join(f"{100 * end:.1f}" for end in cell.interval)
            assert text.split() == [wanted] or text == wanted


def test_a_changed_outcome_changes_the_page(run: Path) -> None:
    before = page(run)
    outcomes = Outcomes.load(run / "outcomes/0.npz")
    flipped = {row: ~right for row, right in outcomes.right.items()}
    Outcomes(flipped).save(run / "outcomes/0.npz")
    after = page(run)
    assert before != after
    cell = Reader(after).table("attack")[1][1]
    assert cell.startswith(f"{100 * flipped['clean'].mean():.1f}")


def test_the_best_of_every_row_is_marked(run: Path) -> None:
    best = re.findall(r'<td class="best"[^>]*><b>([\d.]+)</b>', page(run))
    values = make_table(read_results(run)).values
    wanted = [f"{100 * max(line):.1f}" for line in values.values()]
    assert sorted(set(best)) == sorted(set(wanted))


def test_the_result_names_the_best_mean_and_the_best_union(run: Path) -> None:
    table = make_table(read_results(run))
    mean = table.columns[int(np.argmax(table.mean))]
    union = table.columns[int(np.argmax([cell.value for cell in table.union]))]
    found = re.search(r'id="result">(.*?)</p>', page(run))
    assert found
    assert found[1].startswith(
        f"{mean} has the best mean over the 4 rows, {100 * max(table.mean):.1f}%"
    )
    assert "it also gets" in found[1] if mean == union else f"{union} gets" in found[1]


def test_figures_of_the_paper_stand_beside_where_the_setting_is_its_own(run: Path) -> None:
    assert "(81.75)" not in page(run)
    path = run / "results.json"
    content = json.loads(path.read_text())
    content["setting"] = {"data": "cifar10", "network": "resnet18", "width": 64}
    path.write_text(json.dumps(content))
    row = shown(run).table("attack")[1]
    assert "(81.8)" in row[1 + MODELS.index("MoRE")]


def test_costs_are_per_column(run: Path) -> None:
    rows = {row[0].strip(): row[1:] for row in shown(run).table("attack")}
    assert rows["passes in all"] == ["1.50k", "3.00k", "4.50k", "6.00k"]
    assert rows["seconds in all"] == ["2", "5", "8", "10"]


# --- charts


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


def test_confusions_count_what_was_said() -> None:
    matrix = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


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
    assert "multiple of linf eps 0.01569" in page(run)


def test_more_series_than_colours_begin_again() -> None:
    lines = [Line(str(n), n, [(0, 1, ""), (1, 2, "")]) for n in range(SERIES + 1)]
    drawn = line_chart(lines, LineAxes("x", "y", (0, 3)), "many")
    looks = re.findall(r'class="(line [^"]*)"', drawn)
    assert len(looks) == len(lines)
    assert looks[SERIES] == looks[0]


def test_a_gate_of_which_nothing_is_measured_is_left_out(run: Path) -> None:
    content = json.loads((run / "results.json").read_text())
    content["columns"]["MoRE"]["gate"] |= {"weights": {}, "leads": {}, "entropy": {}}
    (run / "results.json").write_text(json.dumps(content))
    assert 'id="gate"' not in page(run)


def test_trainings_that_were_judged_once_say_nothing_about_longer_ones(run: Path) -> None:
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
            "robust leads under every perturbation, with 0.80 to",
        ),
        ({"a": (0.9, 0.1), "b": (0.4, 0.6)}, "clean gets a; the weight of b is spread"),
        ({"a": (0.9, 0.1), "b": (0.1, 0.9)}, "clean gets a, robust gets b"),
        ({"a": (0.6, 0.4), "b": (0.4, 0.6)}, "no perturbation goes to one expert alone"),
    ],
)
def test_the_gate_s_message_says_what_its_weights_say(
    weights: dict[str, tuple[float, float]], told: str
) -> None:
    gate = GateUsage(experts=("clean", "robust"), weights=weights, leads=weights, n=5)
    assert _message(gate).startswith(told)


def test_differences_are_magnified_as_far_as_they_fit() -> None:
    assert magnification(np.array([0.01, -0.02])) == 20
    assert magnification(np.array([0.9])) == 1
    assert magnified(np.array([0.0, 0.02, -0.5]), 10).tolist() == pytest.approx([0.5, 0.7, 0.0])


# --- pictures


def test_the_gallery_says_what_the_illustration_says(run: Path) -> None:
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


# --- what it rests on


def test_the_raw_figures_are_in_the_page(run: Path) -> None:
    table = make_table(read_results(run))
    addresses = dict(re.findall(r'download="([^"]+)" href="data:[^,]*,([^"]+)"', page(run)))
    found = {name: base64.b64decode(text).decode() for name, text in addresses.items()}
    assert found["table.json"] == to_json(table)
    assert found["table.csv"] == to_csv(table)
    assert [*json.loads(found["trainings.json"])] == [f"train-{model}" for model in MODELS]


def test_provenance_is_complete(run: Path) -> None:
    text = shown(run).text
    for fact in ("morex run made-up.yaml", "abcdef", "Abacus", "morex 0.1.0", "name: made-up"):
        assert fact in text


def test_audits_are_shown_with_evidence_and_flags_first(run: Path) -> None:
    table = shown(run).table("verdict")
    assert [row[0].split()[-1] for row in table[1:]] == ["flag", "pass"]
    assert table[1][3:] == [FINDINGS[1]["reason"], "steered 9.5"]
    (run / "audits/more.json").unlink()
    assert "hide its gradients" not in page(run)


def test_an_audit_is_called_as_the_model_that_it_is_of(run: Path) -> None:
    audit = (run / "audits/more.json").read_text()
    (run / "audits/2.json").write_text(audit)  # the outcomes of that column are outcomes/2.npz
    text = shown(run).text
    column = [*json.loads((run / "results.json").read_text())["columns"]][2]
    section = text[text.index("hide its gradients") :]
    assert section.index(column) < section.index("more")


def test_nothing_is_loaded_from_anywhere(run: Path) -> None:
    html = page(run)
    links = [v for name, v in Reader(html).attributes if name in ("src", "href", "data", "action")]
    assert all(value.startswith(("#", "data:")) for value in links)
    assert not re.search(r"https?://", re.sub(r'data:[^"]*', "", html))
    assert "@import" not in html
    assert "url(" not in html


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    bad = "<script>alert('x & y')"
    html = page(write_run(tmp_path / "run", models=("clean", bad, "MoRE")))
    assert html.count("<script>") == 1
    assert Reader(html).table("attack")[0][2] == bad


# --- what is not there


def test_a_run_without_results_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run directory"):
        write_report(tmp_path / "nowhere")


def test_a_run_in_which_nothing_is_evaluated_shows_its_trainings(tmp_path: Path) -> None:
    found = shown(write_run(tmp_path / "run", evaluated=0))
    assert "No model is evaluated yet" in found.text
    assert "Not evaluated yet: clean, Mfog, AVG, MoRE" in found.text
    assert found.table("training")[1][0] == "clean"


@pytest.mark.parametrize("evaluated", [1, 3])
def test_an_unfinished_run_shows_what_there_is(tmp_path: Path, evaluated: int) -> None:
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


def test_damaged_outcomes_are_no_report(run: Path) -> None:
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


# --- several runs


def test_a_comparison_has_the_figures_of_every_run(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), seed=seed) for seed in range(2)]
    tables = [make_table(read_results(run)) for run in runs]
    found = Reader(to_comparison([read_material(run) for run in runs]))
    means = next(t for t in found.tables if t[0][0] == "model")
    for k, model in enumerate(MODELS):
        wanted = [model, *(str(round(100 * table.mean[k], 1)) for table in tables)]
        assert means[1 + k] == wanted
    average = {m: np.mean([t.mean[k] for t in tables]) for k, m in enumerate(MODELS)}
    best = max(average, key=average.get)
    assert (
        f"Averaged over 2 runs, {best} has the best mean over the rows, {100 * average[best]:.1f}%"
        in found.text
    )
    assert "Table 1: made-up, seed 7" in found.text


@pytest.mark.parametrize(
    "other",
    [
        {"n": 30},
        {"rows": {row: ROWS[row] for row in ("clean", "fog")}},
        {"rows": ROWS | {"pgd-linf": {"kind": "linf", "eps": 0.5}}},
    ],
)
def test_runs_that_were_attacked_differently_are_not_averaged(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    runs = [write_run(tmp_path / "one"), write_run(tmp_path / "two", **other)]
    found = Reader(to_comparison([read_material(run) for run in runs]))
    assert "These runs differ in their test images or attacks" in found.text
    assert "Averaged" not in found.text
    assert "McNemar" not in found.text


def test_runs_on_the_same_images_are_compared_in_pairs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in "ab"]
    labels = (runs[0] / "test-labels.json").read_bytes()
    found = Reader(to_comparison([read_material(run) for run in runs]))
    rows = found.table("run")[1:]
    assert [row[1] for row in rows] == [*MODELS]
    assert {row[4] for row in rows} == {"+0.0"}
    assert {row[6] for row in rows} == {"1"}
    (runs[1] / "test-labels.json").write_bytes(labels.replace(b'"labels": [', b'"labels": [1, '))
    html = to_comparison([read_material(run) for run in runs])
    assert "McNemar" not in html
