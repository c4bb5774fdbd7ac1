"""Further suites of a recipe."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import CPU, FEW, Spy, changed, raw_recipe, rerun

from morex.recipe import parse_recipe
from morex.report import make_table, read_results, to_text
from morex.run import run

pytestmark = pytest.mark.usefixtures("one_thread")


def with_suites(**uses: dict[str, Any]) -> dict[str, Any]:
    return changed(raw_recipe(*FEW), "evaluation.suites", uses)


def test_further_suites_have_separate_tables(out: Path) -> None:
    spy = rerun(out, with_suites(quick={"examples": 12}))
    assert sorted(spy.done) == sorted(f"evaluate-{name}@quick" for name in map(str.lower, FEW))
    table = make_table(read_results(out, "quick"))
    assert table.columns == FEW
    assert {*table.rows} == {"clean", "fog", "pgd-linf", "pgd-l2"}
    assert {cell.n for cells in table.rows.values() for cell in cells if cell} == {12}
    assert "tiny, suite quick" in to_text(table)
    assert not rerun(out, with_suites(quick={"examples": 12})).done
    assert make_table(read_results(out)).columns == FEW


def test_a_recipe_may_use_a_suite_from_a_file(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nrows: {'steer-*': {attack: steering, over: linf, steps: 1}}")
    rerun(out, with_suites(mine={"examples": 5, "file": str(file)}))
    assert [*read_results(out, "mine").file.rows] == ["steer-linf"]


def test_a_missing_package_is_said_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack.autoattack", None)
    spy = Spy()
    recipe = parse_recipe(with_suites(autoattack={"examples": 5}))
    with pytest.raises(ImportError, match=r"pip install 'morex\[autoattack\]'"):
        run(recipe, tmp_path, device=CPU, observer=spy)
    assert not spy.started


OWN = """
name: mine
perturbations: {linf: {kind: linf, eps: 0.02}}
rows: {'pgd-*': {attack: pgd, over: linf, steps: 1}}
"""


def test_a_suite_with_perturbations_of_its_own_says_their_strengths(
    out: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OWN)
    raw = with_suites(mine={"examples": 5, "file": str(file)})
    rerun(out, raw)
    assert "strengths: linf eps 0.02\n" in to_text(make_table(read_results(out, "mine")))
    assert "linf eps 0.02" not in to_text(make_table(read_results(out)))
    assert not rerun(out, raw).done
    file.write_text(OWN.replace("0.02", "0.03"))
    assert sorted(rerun(out, raw).done) == [
        f"evaluate-{n}@mine" for n in sorted(map(str.lower, FEW))
    ]


def test_a_suite_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.suites\.nothing: no suite 'nothing'"):
        parse_recipe(with_suites(nothing={}))


def test_a_suite_may_be_for_some_columns_only(out: Path) -> None:
    use = {"examples": 12, "columns": ["MoRE", "Minf"]}
    spy = rerun(out, with_suites(quick=use))
    assert sorted(spy.done) == ["evaluate-minf@quick", "evaluate-more@quick"]
    results = read_results(out, "quick")
    assert make_table(results).columns == ("Minf", "MoRE")  # in the order of the table
    assert results.file.missing == ()
    assert make_table(read_results(out)).columns == FEW


def test_a_suite_for_a_column_that_does_not_exist_is_refused() -> None:
    wrong = r"evaluation\.suites\.quick\.columns: no column 'Mor'; did you mean 'MoRE'"
    with pytest.raises(ValueError, match=wrong):
        parse_recipe(with_suites(quick={"columns": ["Mor"]}))
