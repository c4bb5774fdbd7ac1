"""Very many stages and rows: the effort grows as their number does. Operations are counted."""

from pathlib import Path
from typing import Any

import pytest
from pretend import calls, pretend
from tiny import CPU, changed, raw_recipe

import morex.run.partial_results
from morex.artifacts.outcomes import Outcomes
from morex.recipe import Recipe, parse_recipe
from morex.run import Builder
from morex.run.directory import RunDirectory
from morex.run.partial_results import PartialRows, RowShares

pytestmark = pytest.mark.usefixtures("one_thread")


def many(models: int, rows: int = 3) -> Recipe:
    raw = raw_recipe("clean")
    raw["models"] = {f"m{i}": {"against": "linf"} for i in range(models)}
    raw["columns"] = [*raw["models"]]
    row = {"attack": "pgd", "perturbation": "linf", "steps": 1}
    return parse_recipe(changed(raw, "evaluation.rows", {f"r{i}": row for i in range(rows)}))


def calls_to_skip(recipe: Recipe, out: Path) -> int:
    pretend(recipe, out)
    return calls(lambda: pretend(recipe, out))


def test_the_effort_of_skipping_grows_as_the_number_of_stages(tmp_path: Path) -> None:
    base, few, most = (calls_to_skip(many(n), tmp_path / str(n)) for n in (2, 12, 32))
    assert (most - base) / (few - base) < 1.25 * (30 / 10)  # quadratic: 1020 / 140 = 7.3


def test_the_effort_of_a_row_does_not_grow_with_their_number(tmp_path: Path) -> None:
    counts = (calls_to_skip(many(2, n), tmp_path / str(n)) for n in (5, 55, 155))
    base, few, most = counts
    assert (most - base) / (few - base) < 1.25 * (150 / 50)


def test_results_are_written_once_for_all_stages_that_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(many(5), tmp_path)
    written = list[str]()
    write = RunDirectory.write

    def spy(self: RunDirectory, name: str, content: bytes) -> None:
        written.append(name)
        write(self, name, content)

    monkeypatch.setattr(RunDirectory, "write", spy)
    execution = pretend(many(5), tmp_path)
    assert len(execution.records) == 10
    assert sorted(written) == ["recipe.yaml", "results.json", "test-labels.json"]


def test_a_file_of_a_suite_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = list[str]()
    attacks = Recipe.attacks

    def spy(self: Recipe, suite: str = "") -> Any:
        reads.append(suite)
        return attacks(self, suite)

    builder = Builder.open(many(4), CPU)
    monkeypatch.setattr(Recipe, "attacks", spy)
    assert len(builder.stages) == 8
    assert builder.suite() == builder.suite()
    assert reads == [""]


def test_many_short_rows_are_not_all_written_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(morex.run.partial_results.time, "monotonic", lambda: now)
    right = Outcomes({"r": [True]}).right["r"]
    rows = PartialRows(tmp_path / "rows.npz", 30.0, print)
    for i in range(50):
        rows.keep(f"r{i}", right, whole=True)
    assert not rows.path.exists()
    now = 101.0
    rows.keep("part", right, whole=False)
    assert not rows.path.exists()  # within a row, it waits for 30 seconds
    rows.keep("r50", right, whole=True)
    assert len(Outcomes.load(rows.path).rows) == 52


def test_the_share_of_rows_that_is_done() -> None:
    right = Outcomes({"r": [True] * 5}).right["r"]
    shares = RowShares({"a": 5, "b": 10, "c": 1, "d": 1}, {"a": right, "b": right})
    assert shares.share == (1 + 0.5) / 4
    assert not shares.add("b", 8)
    assert shares.share == (1 + 0.8) / 4
    assert all(shares.add(name, n) for name, n in (("b", 10), ("c", 1), ("d", 1)))
    assert shares.share == 1
