"""The README shows what the repository holds."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_guides_mixture_is_that_of_the_example() -> None:
    example = (ROOT / "examples" / "own_experts.py").read_text(encoding="utf-8")
    part = example.partition("# [guide]\n")[2].partition("# [/guide]")[0].strip()
    guide = (ROOT / "docs" / "guides" / "python.md").read_text(encoding="utf-8")
    assert f"```python\n{part}\n```" in guide


def test_the_table_is_that_of_the_results() -> None:
    table = json.loads((ROOT / "results" / "digits" / "table.json").read_text(encoding="utf-8"))
    expected = {**table["rows"], "union": table["union"], "mean": table["mean"]}
    lines = [re.sub(r"\*", "", line).strip(" |") for line in README.splitlines() if line[:1] == "|"]
    shown = {name.strip(): cells for name, *cells in (line.split("|") for line in lines)}
    places = [table["columns"].index(name.strip()) for name in shown["attack"]]
    assert len(places) == 6
    for row, figures in expected.items():
        of_columns = [figures[place] for place in places]
        assert [float(cell) for cell in shown[row]] == pytest.approx(of_columns, abs=0.051)


@pytest.mark.parametrize("page", ["README.md", "docs/results/index.md"])
@pytest.mark.parametrize(
    ("recipe", "file", "key", "row"),
    [
        ("cifar10-small", "table", "mean", "mean of nine rows"),
        ("cifar10-small", "table", "union", "union of nine rows"),
        ("cifar10-small", "adaptive", "union", "union under attacks that know the gate"),
    ],
)
def test_the_figures_of_cifar10_are_those_of_the_results(
    page: str, recipe: str, file: str, key: str, row: str
) -> None:
    table = json.loads((ROOT / "results" / recipe / f"{file}.json").read_text(encoding="utf-8"))
    names = ("M2", "MAX (all)", "AVG (all)", "MoRE (all)", "MoRE+ (all)")
    expected = [table[key][table["columns"].index(name)] for name in names]
    text = (ROOT / page).read_text(encoding="utf-8").replace("*", "")
    lines = [line for line in text.splitlines() if f"| {row} |" in line]
    shown = [[float(cell) for cell in re.findall(r"\d+\.\d", line)] for line in lines]
    assert any(cells == pytest.approx(expected, abs=0.051) for cells in shown)


@pytest.mark.parametrize("model", ["MoRE (all)", "MoRE+ (all)"])
def test_the_gates_of_the_tutorial_are_those_of_the_results(model: str) -> None:
    content = (ROOT / "results/cifar10-small/table.json").read_text(encoding="utf-8")
    gate = json.loads(content)["models"][model]["gate"]
    head = f"| perturbation | {' | '.join(gate['experts'])} | entropy (bits) |"
    text = (ROOT / "docs/tutorials/read-a-report.md").read_text(encoding="utf-8")
    rows = text.partition(head)[2].partition("\n\n")[0].replace("*", "").strip().splitlines()[1:]
    for line, (name, weights) in zip(rows, gate["weights"].items(), strict=True):
        figures = (f"{value:.2f}" for value in (*weights, gate["entropy"][name]))
        assert line == f"| {name} | {' | '.join(figures)} |"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()
