"""The README shows what the repository holds."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_are_those_of_the_example() -> None:
    example = (ROOT / "examples" / "own_experts.py").read_text(encoding="utf-8")
    part = example.partition("# [readme]\n")[2].partition("# [/readme]")[0].strip()
    assert f"```python\n{part}\n```" in README


def test_the_table_is_that_of_the_results() -> None:
    table = json.loads((ROOT / "results" / "digits" / "table.json").read_text(encoding="utf-8"))
    expected = {**table["rows"], "union": table["union"], "mean": table["mean"]}
    lines = [re.sub(r"\*", "", line).strip(" |") for line in README.splitlines() if line[:1] == "|"]
    shown = {name.strip(): cells for name, *cells in (line.split("|") for line in lines)}
    assert [name.strip() for name in shown["attack"]] == table["columns"]
    for row, figures in expected.items():
        assert [float(cell) for cell in shown[row]] == pytest.approx(figures, abs=0.051)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()
