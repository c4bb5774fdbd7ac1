"""Writes what extensions of a run won and cost into ``results/extension/``.

    python scripts/extension.py RUN RUN-rain RUN-rain-jpeg

Every run after the first is an extension of the one before (``morex extend``). For each the mixture
that was extended and the new one stand side by side, on the same test images and on the validation
images (rows of PGD and of draws). Costs are compared with those of MAX (all) and AVG (all), had
they been trained anew with all that the new mixture knows: passes by the recipe, seconds in
proportion.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from morex import evaluate
from morex.attacks import PGD, WorstOfDraws
from morex.core.precision import default_device
from morex.models.named import load_model
from morex.recipe import Recipe, load_recipe, parse_recipe
from morex.recipe.extend import last_mixture
from morex.recipe.models import MixtureModel, NetworkModel
from morex.report import make_table, read_results
from morex.report.formats import as_dict
from morex.run import Workshop
from morex.run.cores import threads
from morex.run.costs import network_passes
from morex.run.stages import model_folder, plan_stages

ROOT = Path(__file__).parents[1]

Judged = dict[str, dict[str, float]]
"""Accuracies (percent) on validation images by model and row."""


def main() -> None:
    """Write a JSON file and a Markdown file that is called as the first run's recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--name", help="of the files; by default that of the first run's recipe")
    parser.add_argument(
        "--keep", type=Path, help="a JSON file that keeps what is known of validation images"
    )
    given = parser.parse_args()
    runs = given.runs
    if len(runs) < 2:
        parser.error("expected a run and at least one extension of it, one after the other")
    kept = given.keep
    judged: Judged = json.loads(kept.read_text()) if kept and kept.exists() else {}
    steps = []
    for before, after in pairwise(runs):
        steps.append(step(before, after, judged))
        if kept:
            kept.write_text(json.dumps(judged))
    source = read_results(runs[-1]).file
    name = given.name or load_recipe(str(runs[0] / "recipe.yaml")).name
    content = {
        "recipe": name,
        "seed": source.seed,
        "steps": steps,
        "provenance": source.provenance.content(),
    }
    home = ROOT / "results" / "extension"
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    made_by = source.provenance
    hardware = ", ".join(f"{key} {value}" for key, value in made_by.hardware.items())
    about = f"Seed {source.seed}; {hardware}; commit {made_by.commit}.\n"
    (home / f"{name}.md").write_text("\n".join([f"# {name}\n", about, *map(markdown, steps)]))


def step(before: Path, after: Path, judged: Judged) -> dict[str, Any]:
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
        "validation": on_validation(new, after, (was, grown), judged),
        "cost": {name: cost(table, name) for name in trained},
        "cost_anew": {name: cost(table, name, anew(new, name)) for name in union},
    }


def on_validation(
    recipe: Recipe, run: Path, models: tuple[str, ...], judged: Judged
) -> dict[str, Any]:
    """Return the accuracies (percent) of models on validation images, by row.

    What is in ``judged`` already is taken from there; the rest is added.
    """
    workshop = Workshop.open(recipe, default_device())
    images = workshop.training_data.validation
    kept = tuple(r for r in workshop.suite() if isinstance(r.attack, PGD | WorstOfDraws))
    for name in models:
        known = judged.setdefault(name, {})
        missing = tuple(row for row in kept if row.name not in known)
        if not missing:
            continue
        model = workshop.ready(load_model(run / model_folder(name))).eval()
        size = recipe.evaluation.batch_size
        with threads(recipe.threads):
            right = evaluate(model, images, missing, seed=recipe.seed, batch_size=size).right
        known |= {r: round(100 * float(v.mean()), 2) for r, v in right.items()}
    return {
        row.name: {
            "n": row.count(len(images)),
            "accuracy": [judged[name][row.name] for name in models],
        }
        for row in kept
    }


def anew(recipe: Recipe, name: str) -> float:
    """Return by how much more passes a network takes if trained on all the last mixture knows."""
    mixture, raw = recipe.models[last_mixture(recipe)], recipe.model_dump(mode="json")
    assert isinstance(mixture, MixtureModel)
    old = raw["models"][name]["against"]
    raw["models"][name]["against"] = [
        *old,
        *(n for n in mixture.against if n not in (*old, "clean")),
    ]
    return passes(parse_recipe(raw), name) / passes(recipe, name)


def passes(recipe: Recipe, name: str) -> float:
    """Return how many images the training of a model sends through networks."""
    (stage,) = (s for s in plan_stages(recipe, "", "") if (s.kind, s.model) == ("train", name))
    found = network_passes(Workshop.open(recipe, torch.device("cpu")), stage)
    return found.forward + found.backward


def cost(table: dict[str, Any], name: str, factor: float = 1) -> dict[str, float]:
    """Return what the training of a model itself took, times a factor."""
    took = table["models"][name]["training"]
    passes = round(factor * (took["forward"] + took["backward"]))
    return {"seconds": round(factor * took["seconds"], 1), "passes": passes}


def markdown(found: dict[str, Any]) -> str:
    """Return one extension as a table and a line on its cost."""
    was, grown = found["models"]
    lines = [
        f"## + {', '.join(found['added'])}\n",
        f"| attack | {was} | {grown} | change | n | validation: before | after | change | n |",
        f"| --- |{' ---: |' * 8}",
    ]
    for name, row in found["rows"].items():
        shown = [name, *map(words, row["accuracy"], row["interval"]), *change(row)]
        if judged := found["validation"].get(name):
            shown += [*(f"{value:.1f}" for value in judged["accuracy"]), *change(judged)]
        lines.append(f"| {' | '.join([*shown, *[''] * (9 - len(shown))])} |")
    took = ", ".join(f"{name} {c['seconds']:.1f} s" for name, c in found["cost"].items())
    ours = {key: sum(c[key] for c in found["cost"].values()) for key in ("seconds", "passes")}
    longest = max(c["seconds"] for c in found["cost"].values())  # neither waits for the other
    shares = "; ".join(
        f"{100 * ours['passes'] / c['passes']:.1f}% of the passes and "
        f"{100 * ours['seconds'] / c['seconds']:.1f}% of the seconds of {name} "
        f"({100 * longest / c['seconds']:.1f}% side by side)"
        for name, c in found["cost_anew"].items()
    )
    end = f": {shares}, trained anew with what is new" if shares else ""
    return "\n".join([*lines, f"\nTraining took {ours['seconds']:.1f} s ({took}){end}.\n"])


def change(row: dict[str, Any]) -> list[str]:
    """Return the difference between two accuracies and how many images they are of."""
    before, after = row["accuracy"]
    return [f"{after - before:+.1f}", str(row["n"])]


def words(accuracy: float, interval: tuple[float, float]) -> str:
    """Return an accuracy with its interval for a table."""
    low, high = interval
    return f"{accuracy:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
