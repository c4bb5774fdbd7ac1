"""Writes what extensions of a run won and cost into ``results/extension/``.

    python scripts/extension.py RUN RUN-rain RUN-rain-jpeg

Every run after the first is an extension of the one before (``morex extend``). For each the mixture
that was extended and the new one stand side by side, on the same test images.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from morex.recipe import load_recipe
from morex.recipe.extension import last_mixture
from morex.recipe.schema import NetworkModel
from morex.report import make_table, read_results
from morex.report.formats import as_dict

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write a JSON file and a Markdown file that is called as the first run's recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    runs = parser.parse_args().runs
    if len(runs) < 2:
        parser.error("expected a run and at least one extension of it, one after the other")
    steps = [step(before, after) for before, after in pairwise(runs)]
    source = read_results(runs[-1]).file
    name = load_recipe(str(runs[0] / "recipe.yaml")).name
    content = {
        "recipe": name,
        "seed": source.seed,
        "steps": steps,
        "provenance": source.provenance,
    }
    home = ROOT / "results" / "extension"
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    made_by = source.provenance
    hardware = ", ".join(f"{key} {value}" for key, value in made_by["hardware"].items())
    about = f"Seed {source.seed}; {hardware}; commit {made_by.get('commit')}.\n"
    (home / f"{name}.md").write_text("\n".join([f"# {name}\n", about, *map(markdown, steps)]))


def step(before: Path, after: Path) -> dict[str, Any]:
    """Return accuracies and costs of the mixture that was extended and of the new one."""
    old, new = (load_recipe(str(run / "recipe.yaml")) for run in (before, after))
    was, grown = last_mixture(old), last_mixture(new)
    trained = [name for name in new.models if name not in old.models]
    union = [n for n in ("MAX (all)", "AVG (all)") if isinstance(old.models.get(n), NetworkModel)]
    table = as_dict(make_table(read_results(after)))
    places = [table["columns"].index(name) for name in (was, grown)]
    return {
        "added": [name for name in new.perturbations if name not in old.perturbations],
        "models": [was, grown],
        "rows": {
            row: {
                "n": table["n"][row],
                "accuracy": [values[place] for place in places],
                "interval": [table["intervals"][row][place] for place in places],
            }
            for row, values in table["rows"].items()
        },
        "cost": {name: cost(table, name) for name in trained},
        "cost_of_others": {name: cost(table, name) for name in union},
    }


def cost(table: dict[str, Any], name: str) -> dict[str, float]:
    """Return what the training of a model itself took."""
    took = table["models"][name]["training"]
    return {"seconds": round(took["seconds"], 1), "passes": took["forward"] + took["backward"]}


def markdown(found: dict[str, Any]) -> str:
    """Return one extension as a table and a line on its cost."""
    was, grown = found["models"]
    lines = [
        f"## + {', '.join(found['added'])}\n",
        f"| attack | {was} | {grown} | difference | n |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in found["rows"].items():
        before, after = row["accuracy"]
        shown = map(words, row["accuracy"], row["interval"])
        lines.append(f"| {' | '.join([name, *shown, f'{after - before:+.1f}', str(row['n'])])} |")
    took = ", ".join(f"{name} {c['seconds']:.1f} s" for name, c in found["cost"].items())
    ours = {key: sum(c[key] for c in found["cost"].values()) for key in ("seconds", "passes")}
    shares = "; ".join(
        f"{100 * ours['passes'] / c['passes']:.1f}% of the passes and "
        f"{100 * ours['seconds'] / c['seconds']:.0f}% of the seconds of {name}"
        for name, c in found["cost_of_others"].items()
    )
    end = f": {shares}, trained without what is new" if shares else ""
    return "\n".join([*lines, f"\nTraining took {ours['seconds']:.1f} s ({took}){end}.\n"])


def words(accuracy: float, interval: tuple[float, float]) -> str:
    """Return an accuracy with its interval for a table."""
    low, high = interval
    return f"{accuracy:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
