"""The report page shows what the run's files hold."""

import base64
import json
import re
from pathlib import Path

import numpy as np
from report_page import Reader, page, shown
from report_run import FINDINGS, MODELS, write_run

from morex.artifacts.outcomes import Outcomes
from morex.report import make_table, read_results, to_csv, to_json


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


def test_figures_of_the_paper_are_shown_where_the_setting_matches(run: Path) -> None:
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
    found = shown(run)
    table = found.table("verdict")
    assert [row[0].split()[-1] for row in table[1:]] == ["flag", "pass"]
    assert table[1][3:] == ["40", FINDINGS[1]["reason"], "still right after steered 9.5%"]
    assert table[2][3] == ""  # written by an older version
    assert (
        "Under all attacks in L2 at most 10.0% are right (95% interval 4.3% to 21.4%, n = 50): "
        "not robust. One answer to all of them gets 12.0%." in found.text
    )
    (run / "audits/more.json").unlink()
    assert "hide its gradients" not in page(run)


def test_an_audit_has_the_name_of_its_model(run: Path) -> None:
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
