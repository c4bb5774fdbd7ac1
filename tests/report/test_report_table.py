"""From a run directory with known outcomes to tables in every format."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from report_table import (
    COST,
    KINDS,
    PAPER,
    SMALL,
    STAGES,
    TABLE1,
    write_outcomes,
)

from morex.artifacts.notes import Note
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import Proportion, wilson_interval
from morex.report import (
    FORMATS,
    make_table,
    read_results,
    to_csv,
    to_json,
    to_markdown,
    to_text,
)
from morex.report.caption import in_words, strengths_of
from morex.report.formats import cost_cell
from morex.report.paper import paper_columns

ANSI = "\x1b["


@pytest.fixture
def table(tmp_path):
    run = write_outcomes(tmp_path / "run", SMALL, missing=["MoRE"])
    return make_table(read_results(run))


@pytest.fixture
def full(tmp_path):
    """A run of all twelve models over all nine rows, in the paper's setting."""
    rng = np.random.default_rng(0)
    right = {
        column: {row: "".join(rng.choice(["0", "1"], 16)) for row in TABLE1["rows"]}
        for column in paper_columns()
    }
    return make_table(read_results(write_outcomes(tmp_path / "full", right, setting=PAPER)))


def percents(*counts):
    return [[round(100 * end, 2) for end in wilson_interval(*count)] for count in counts]


def test_json_has_exact_values(table):
    found = json.loads(to_json(table))
    assert found["columns"] == ["clean", "M2", "MoRE"]
    assert found["rows"] == {
        "clean": [87.5, 50.0, None],
        "pgd-l2": [0.0, 37.5, None],
        "fog": [50.0, 50.0, None],
    }
    assert found["union"] == [0.0, 25.0, None]  # over the four examples that every row covers
    assert found["mean"] == [45.83, 45.83, None]
    assert found["n"] == {"clean": 8, "pgd-l2": 8, "fog": 4, "union": 4}
    assert found["intervals"]["clean"] == [*percents((7, 8), (4, 8)), None]
    assert found["intervals"]["union"] == [*percents((0, 4), (1, 4)), None]
    assert (found["seed"], found["stages"]) == (7, STAGES)
    assert found["provenance"]["commit"] == "abc"
    assert found["missing"] == ["MoRE"]
    assert found["models"]["M2"]["training"] == COST
    assert found["attacks"]["fog"]["perturbation"] == KINDS["fog"]
    assert "paper" not in found


def test_json_layout_is_that_of_the_papers_table(full):
    found = json.loads(to_json(full))
    assert found["columns"] == TABLE1["columns"]
    assert list(found["rows"]) == list(TABLE1["rows"])
    assert all(len(row) == 12 for row in found["rows"].values())
    assert found["paper"] == TABLE1["rows"]
    assert {"title", "settings"} <= set(found)


def test_json_lists_n_where_columns_differ(tmp_path):
    run = write_outcomes(
        tmp_path / "r", {"a": {"clean": "11"}, "b": {"clean": "101"}}, missing=["c"]
    )
    assert json.loads(to_json(make_table(read_results(run))))["n"]["clean"] == [2, 3, None]


def test_a_model_that_lacks_a_row_has_no_union_and_no_mean(tmp_path):
    right = {"a": {"clean": "11", "fog": "10"}, "b": {"clean": "11"}}
    found = json.loads(to_json(make_table(read_results(write_outcomes(tmp_path / "r", right)))))
    assert found["rows"]["fog"] == [50.0, None]
    assert (found["union"], found["mean"]) == ([50.0, None], [75.0, None])


def test_union_is_at_most_every_row(full):
    for i in range(len(full.columns)):
        assert all(full.union[i].value <= cells[i].value for cells in full.rows.values())


def test_columns_take_the_papers_order_only_if_all_are_the_papers(tmp_path):
    row = {"clean": "1"}
    known = write_outcomes(tmp_path / "a", {"MSD": row, "clean": row}, missing=["M2"])
    other = write_outcomes(tmp_path / "b", {"mine": row, "clean": row}, missing=["M2"])
    assert make_table(read_results(known)).columns == ("clean", "M2", "MSD")
    assert make_table(read_results(other)).columns == ("mine", "clean", "M2")


def test_csv_has_one_line_per_cell(table):
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(lines) == 5 * 3
    cells = {(line["row"], line["column"]): line for line in lines}
    low, high = percents((3, 8))[0]
    assert cells["pgd-l2", "M2"] == {
        "row": "pgd-l2",
        "column": "M2",
        "accuracy": "37.5",
        "low": str(low),
        "high": str(high),
        "n": "8",
        "paper": "",
    }
    assert cells["union", "M2"]["accuracy"] == "25.0"
    assert cells["union", "M2"]["n"] == "4"
    assert cells["mean", "M2"]["accuracy"] == "45.83"
    assert cells["mean", "M2"]["low"] == cells["mean", "M2"]["n"] == ""
    assert set(cells["fog", "MoRE"].values()) == {"fog", "MoRE", ""}


def test_csv_quotes_awkward_names_and_has_the_papers_figures(full, tmp_path):
    lines = list(csv.reader(io.StringIO(to_csv(full))))
    assert ["pgd-linf", "MoRE (all)", "40.86"] in [[*line[:2], line[-1]] for line in lines]
    run = write_outcomes(tmp_path / "r", {'a, "b"': {"clean": "1"}})
    rows = list(csv.reader(io.StringIO(to_csv(make_table(read_results(run))))))
    assert {len(row) for row in rows} == {7}
    assert rows[1][1] == 'a, "b"'


def test_no_name_is_a_formula_html_or_a_link(tmp_path):
    names = ["=1+1", "@x", "<b>", "[x](y)", "a|b", "`c`", "d & e"]
    run = write_outcomes(tmp_path / "r", {name: {"clean": "1"} for name in names})
    table = make_table(read_results(run))
    rows = list(csv.reader(io.StringIO(to_csv(table))))[1:8]
    assert [row[1] for row in rows] == ["'=1+1", "'@x", *names[2:]]
    head = pipe_table(to_markdown(table))[0]
    assert head[3:] == ["&lt;b>", r"\[x](y)", r"a\|b", r"\`c\`", "d &amp; e"]


def pipe_table(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_is_a_pipe_table(table):
    cells = pipe_table(to_markdown(table))
    assert {len(line) for line in cells} == {4}
    assert cells[0] == ["attack", "clean", "M2", "MoRE"]
    assert all(re.fullmatch(r"-{3,}:?", cell) for cell in cells[1])
    assert cells[2:] == [
        ["clean", "**87.5**", "50.0", "-"],
        ["pgd-l2", "0.0", "**37.5**", "-"],
        ["fog", "**50.0**", "**50.0**", "-"],
        ["union", "0.0", "**25.0**", "-"],
        ["mean", "**45.8**", "**45.8**", "-"],
        ["own passes", "5", "5", "-"],
    ]


def test_markdown_escapes_pipes_and_shows_the_paper(full, tmp_path):
    assert "(47.0)" in pipe_table(to_markdown(full))[5][-1]
    run = write_outcomes(tmp_path / "r", {"a|b": {"clean": "1"}})
    assert pipe_table(to_markdown(make_table(read_results(run))))[0] == ["attack", "a\\|b"]


def test_text_shows_every_figure_and_marks_the_best(table):
    text = to_text(table)
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert lines["clean"] == ["87.5*", "50.0", "-"]
    assert lines["pgd-l2"] == ["0.0", "37.5*", "-"]
    assert lines["fog"] == ["50.0*", "50.0*", "-"]
    assert lines["union"] == ["0.0", "25.0*", "-"]
    order = [line.split()[0] for line in text.splitlines() if line.strip()]
    rule = order[order.index("union") - 1]
    assert set(rule) == {"─"}


def test_the_caption_has_n_intervals_strengths_seed_and_machine(table):
    text = to_text(table)
    widest = max((h - low) / 2 for low, h in [wilson_interval(2, 4), wilson_interval(1, 4)])
    assert "n = 8 test images (fog, union: 4)" in text
    assert f"up to ±{100 * widest:.1f} points" in text
    assert "strengths: l2 eps 1, fog t 0.15 light 0.6" in text
    assert "seed 7" in text
    assert "Abacus" in text
    assert "digits (8x8)" in text
    assert "not evaluated yet: MoRE" in text


@pytest.mark.parametrize(
    ("perturbation", "words"),
    [
        ({"kind": "linf", "eps": 4 / 255}, "linf eps 4/255"),
        ({"kind": "hail.py:Hail", "stones": 12, "code": "0a1b2c"}, "hail.py:Hail stones 12"),
        ({"kind": "compose", "parts": [{"kind": "fog", "t": 0.2}, {"kind": "l2", "eps": 1.0}]},
         "fog t 0.2 then l2 eps 1"),
    ],
)  # fmt: skip
def test_a_strength_is_a_fraction_if_it_is_one_and_has_no_checksum(perturbation, words):
    assert in_words(perturbation) == words


def test_twelve_models_fit_into_120_characters_in_one_block(full):
    lines = to_text(full, width=120).splitlines()
    assert max(map(len, lines)) <= 120
    assert sum(line.startswith(" union") for line in lines) == 1
    assert to_text(full, width=200) == to_text(full)


@pytest.mark.parametrize("width", [110, 80, 60, 40])
def test_narrow_terminals_get_blocks_with_nothing_cut(full, width):
    text = to_text(full, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("\n attack") > 1
    wide = sorted(re.findall(r"\(?\d+\.\d\)?", to_text(full).split("* best")[0]))
    assert sorted(re.findall(r"\(?\d+\.\d\)?", text.split("* best")[0])) == wide


def test_absurdly_narrow_text_is_too_wide_rather_than_cut(full):
    text = to_text(full, width=5)
    assert text.count("deepfool-linf") == 12
    assert "…" not in text


def test_text_is_plain_unless_styled(full, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ANSI not in to_text(full)
    styled = to_text(full, styled=True)
    assert ANSI in styled
    without = re.sub(r"\x1b\[[0-9;]*m", "", styled)
    plain_lines = [line.rstrip() for line in without.splitlines()]
    assert plain_lines == to_text(full).splitlines()


def test_names_are_not_read_as_markup(tmp_path):
    run = write_outcomes(tmp_path / "r", {"[red]x": {"clean": "1"}}, name="[bold]n :smile:")
    text = to_text(make_table(read_results(run)))
    assert "[red]x" in text
    assert "[bold]n :smile:" in text


def test_text_puts_the_papers_figures_under_ours(full):
    lines = to_text(full).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(" pgd-linf"))
    figures = [f"({value:.1f})" for value in TABLE1["rows"]["pgd-linf"]]
    assert lines[at + 1].split() == figures
    dots = [m.start() for m in re.finditer(r"\.", lines[at])]
    assert dots == [m.start() for m in re.finditer(r"\.", lines[at + 1])]


def test_other_settings_show_no_figures_of_the_paper(table):
    for render in FORMATS.values():
        text = render(table)
        assert "80.73" not in text
        assert "(80.7)" not in text


def test_best_marks_ties_but_not_gaps_or_zeros(table):
    assert table.best("fog") == (True, True, False)
    assert table.best("clean") == (True, False, False)
    assert table.best("union") == (False, True, False)
    nothing = replace(table, rows={"fog": (None, None, None)})
    assert nothing.best("fog") == (False, False, False)
    zeros = replace(table, rows={"fog": (Proportion(0, 4), Proportion(0, 4), None)})
    assert zeros.best("fog") == (False, False, False)


def test_report_imports_neither_torch_nor_scipy():
    code = "import sys, morex.report; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (999, "999"),
        (1000, "1.00k"),
        (25_184, "25.2k"),
        (627_000, "627k"),
        (1_145_404, "1.15M"),
        (2_300_000_000, "2.30G"),
    ],
)
def test_costs_are_written_with_three_digits(count, text):
    assert cost_cell(count) == text


def test_costs_are_under_the_table(tmp_path):
    table = make_table(read_results(write_outcomes(tmp_path / "run", SMALL, missing=["MoRE"])))
    assert table.costs == {"passes": (5, 5, None)}
    assert re.search(r"^ own passes +5 +5 +-$", to_text(table), re.MULTILINE)
    assert "passes: images sent forward or backward" in to_text(table)
    assert json.loads(to_json(table))["costs"] == {"passes": [5, 5, None]}


def test_what_an_evaluation_noticed_stands_under_the_table(tmp_path):
    run = write_outcomes(tmp_path / "run", SMALL)
    found = Outcomes.load(run / "outcomes/1.npz")
    note = Note("fog", "answers not finite", 3, 4)
    replace(found, notes=(note,)).save(run / "outcomes/1.npz")
    table = make_table(read_results(run))
    said = "M2, fog: the answers to 3 of 4 images were not finite; they count as wrong"
    assert said in to_text(table)
    assert said in to_markdown(table)
    assert json.loads(to_json(table))["notes"] == {
        "M2": [{"row": "fog", "what": "answers not finite", "images": 3, "of": 4}]
    }
    assert "notes" not in json.loads(to_json(make_table(read_results(small(tmp_path)))))


def small(folder):
    return write_outcomes(folder / "small", SMALL)


def test_the_paper_s_weather_is_named_where_other_weather_stands_beside_it() -> None:
    fog, snow = {"kind": "fog", "t": 0.15, "light": 0.6}, {"kind": "snow", "darkness": 2.5}
    theirs = {"kind": "hendrycks-fog", "severity": 3}
    assert strengths_of([fog, snow]) == "fog t 0.15 light 0.6, snow darkness 2.5"
    assert strengths_of([fog, snow, theirs]) == (
        "the paper's fog t 0.15 light 0.6, snow darkness 2.5, hendrycks-fog severity 3"
    )
