"""``morex table``, ``morex gate`` and ``morex compare``: figures of finished runs."""

import csv
import io
import json
import math
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from calling import FinishedRun, call, stage_lines

from morex.artifacts.gate_usage import GateUsage
from morex.artifacts.outcomes import Outcomes
from morex.report import gate_sentences


def test_table_formats_agree(finished: FinishedRun) -> None:
    folder = finished.folder
    table = json.loads(call("table", folder, "--format", "json")[1])
    assert table["columns"] == ["clean", "Minf", "Mfog", "MoRE"]
    assert table["n"]["clean"] == 30
    rows = csv.DictReader(io.StringIO(call("table", folder, "--format", "csv")[1]))
    cells = {(r["row"], r["column"]): float(r["accuracy"]) for r in rows}
    for row, values in table["rows"].items():
        stored = Outcomes.load(folder / "outcomes" / "more.npz").accuracy(row).value
        assert values[3] == pytest.approx(100 * stored, abs=0.005)
        assert cells[row, "MoRE"] == pytest.approx(values[3], abs=0.005)
    assert call("table", folder, "--format", "markdown")[1].count("|") > 20
    code, _, err = call("table", folder, "--format", "pdf")
    assert code == 2
    assert "json" in err


def test_gate_prints_its_weights_and_draws_them(finished: FinishedRun, tmp_path: Path) -> None:
    svg = tmp_path / "gate.svg"
    code, out, _ = call("gate", finished.folder, "--svg", svg)
    assert code == 0
    table, sentences = out.split("\n\n")
    title, head, *lines, note = table.splitlines()
    stored = json.loads((finished.folder / "results.json").read_text())["columns"]["MoRE"]["gate"]
    assert title == "Where the gate of MoRE puts its weight"
    assert head.split() == [*stored["experts"], "entropy"] == ["clean", "Minf", "Mfog", "entropy"]
    assert {line.split()[0] for line in lines} == {*stored["weights"]}
    for line in lines:
        row, *weights, bits = line.split()
        assert float(bits) == pytest.approx(stored["entropy"][row], abs=0.0051)
        assert [float(w) for w in weights] == pytest.approx(stored["weights"][row], abs=0.0051)
    assert f"on {stored['n']} test images" in note
    assert "entropy in bits, at most 1.58" in note
    assert sentences.splitlines() == gate_sentences(GateUsage.model_validate(stored))
    said = json.loads(call("gate", finished.folder, "--json")[1])
    assert said == {"model": "MoRE", **stored}
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_gate_lists_the_mixtures_of_the_run(finished: FinishedRun, tmp_path: Path) -> None:
    assert call("gate", finished.folder, "--model", "MoRE") == call("gate", finished.folder)
    code, _, err = call("gate", finished.folder, "--model", "clean")
    assert code == 2
    assert "has no mixture 'clean' with a gate; it has MoRE" in err


def test_a_suite_has_a_separate_table(finished: FinishedRun, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    more = ("--suite", "quick", "--suite-examples", 4)
    code, out, err = call("run", folder / "recipe.yaml", *more, "--out", folder)
    assert code == 0, err
    assert err.count("(quick)") == 4  # every model is evaluated, none is trained again
    assert err.count("done before") == len(stage_lines(err)) - 4
    table = json.loads(call("table", folder, "--suite", "quick", "--format", "json")[1])
    assert table["columns"] == ["clean", "Minf", "Mfog", "MoRE"]
    assert {*table["n"].values()} == {4}
    unions = [line for line in out.splitlines() if line.split()[:1] == ["union"]]
    assert len(unions) == 2  # the run prints both tables
    code, _, err = call("table", folder, "--suite", "quik")
    assert code == 2
    assert "the suite 'quik' was not run" in err
    assert "did you mean 'quick'? these were: Table 1 (without --suite), quick;" in err
    code, _, err = call("table", finished.folder, "--suite", "quick")
    assert code == 2
    again = f"morex run {finished.folder / 'recipe.yaml'} --suite quick --out {finished.folder}"
    assert err.endswith(f"these were: Table 1 (without --suite); run it with: {again}\n")


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of a fair coin, from the binomial distribution."""
    n, few = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(few + 1)) / 2**n)


def test_compare_two_models(finished: FinishedRun, tmp_path: Path) -> None:
    files = [finished.folder / f"outcomes/{name}.npz" for name in ("clean", "more")]
    code, out, _ = call("compare", *files)
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:-1]}
    loaded = [Outcomes.load(file) for file in files]
    for row in (*loaded[0].rows, "union"):
        a, b = (o.union() if row == "union" else o.right[row] for o in loaded)
        first, second, difference, only_first, only_second, n, p = map(float, rows[row])
        assert [first, second] == pytest.approx([100 * a.mean(), 100 * b.mean()], abs=0.051)
        assert difference == pytest.approx(100 * (a.mean() - b.mean()), abs=0.051)
        assert [only_first, only_second, n] == [(a & ~b).sum(), (b & ~a).sum(), len(a)]
        assert p == pytest.approx(mcnemar(int(only_first), int(only_second)), abs=1e-4)
    found = json.loads(call("compare", *files, "--json")[1])
    assert [found["first"], found["second"]] == [str(file) for file in files]
    assert [*found["rows"]] == [*rows]
    for row, cells in found["rows"].items():
        assert [cells["only_first"], cells["only_second"], cells["n"]] == [
            int(cell) for cell in rows[row][3:6]
        ]
        assert cells["p"] == mcnemar(cells["only_first"], cells["only_second"])
    Outcomes({"other": np.ones(3, np.bool_)}).save(tmp_path / "other.npz")
    code, _, err = call("compare", files[0], tmp_path / "other.npz")
    assert code == 2
    assert "share no row" in err


def test_a_union_of_shared_rows_says_so(tmp_path: Path) -> None:
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    rows = {"clean": np.ones(4, np.bool_), "pgd": np.array([True, True, False, False])}
    Outcomes(rows).save(files[0])
    Outcomes({"clean": rows["clean"]}).save(files[1])
    said = f"remark: only {files[0]} has pgd; the union is that of the shared rows"
    assert said in call("compare", *files)[1]
    found = json.loads(call("compare", *files, "--json")[1])
    assert found["rows"]["union"]["first"] == 1.0
    assert any(said in remark for remark in found["remarks"])
    same = json.loads(call("compare", files[0], files[0], "--json")[1])
    assert not any("shared rows" in remark for remark in same["remarks"])


def test_a_small_p_is_not_printed_as_zero(tmp_path: Path) -> None:
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file, right in zip(files, (True, False), strict=True):
        Outcomes({"clean": np.full(100, right)}).save(file)
    head, *lines = call("compare", *files)[1].splitlines()[:3]
    assert {line.split()[-1] for line in lines} == {"<0.0001"}
    assert {line.index("<0.0001") + len("<0.0001") for line in lines} == {len(head)}
