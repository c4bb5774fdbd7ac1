"""Write the gains and costs of extensions of a run into ``results/extension/``.

    python scripts/extension.py RUN RUN-rain RUN-rain-jpeg

Each run after the first extends the one before it (``morex extend``). For each extension, the
mixture before and the mixture after are compared on the test images, and on the validation images
under the rows with PGD and with draws. The cost is compared with that of MAX (all) and AVG (all),
trained again on everything that the new mixture knows: their passes follow from the recipe, their
seconds are scaled by the passes.

Outcomes on validation images are kept in the folder ``validation`` of each run, so that an
interrupted call resumes where it stopped.
"""

import argparse
import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from morex import evaluate
from morex.artifacts.statistics import BoolArray
from morex.attacks import PGD, WorstOfDraws
from morex.core.files import digest_of
from morex.core.precision import default_device
from morex.core.threads import threads
from morex.models.folder import WEIGHTS
from morex.models.named import load_model
from morex.recipe import Recipe, load_recipe, parse_recipe, slug
from morex.recipe.extend import last_mixture
from morex.report import make_table, read_results
from morex.report.formats import as_dict
from morex.run import Builder
from morex.run.costs import network_passes
from morex.run.partial_results import PartialRows
from morex.run.stages import model_folder, plan_stages, stage_id

ROOT = Path(__file__).parents[1]
BASELINES = ("MAX (all)", "AVG (all)")


def main() -> None:
    """Write a JSON file and a Markdown file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--name", help="name of the files (default: the first run's recipe)")
    given = parser.parse_args()
    runs = given.runs
    if len(runs) < 2:
        parser.error("expected a run and at least one extension of it, one after the other")
    name = given.name or load_recipe(str(runs[0] / "recipe.yaml")).name
    write(name, runs[-1], [step(before, after) for before, after in pairwise(runs)])


def write(name: str, last: Path, steps: list[dict[str, Any]]) -> None:
    """Write the steps, with the provenance of the last run."""
    source = read_results(last).file
    made_by = source.provenance
    content = {"recipe": name, "seed": source.seed, "steps": steps, "provenance": made_by.content()}
    home = ROOT / "results" / "extension"
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    hardware = ", ".join(f"{key} {value}" for key, value in made_by.hardware.items())
    about = f"Seed {source.seed}; {hardware}; commit {made_by.commit}.\n"
    (home / f"{name}.md").write_text("\n".join([f"# {name}\n", about, *map(markdown, steps)]))


def step(before: Path, after: Path) -> dict[str, Any]:
    """Return accuracies and costs of the mixture that was extended and of the new one."""
    old, new = (load_recipe(str(run / "recipe.yaml")) for run in (before, after))
    models = (last_mixture(old), last_mixture(new))
    trained = [name for name in new.models if name not in old.models]
    baselines = [name for name in BASELINES if name in old.networks]
    table = as_dict(make_table(read_results(after)))
    return {
        "added": [name for name in new.perturbations if name not in old.perturbations],
        "models": [*models],
        "rows": on_test(table, models),
        "validation": on_validation(new, after, models),
        "cost": {name: cost(table, name) for name in trained},
        "cost_anew": {name: cost(table, name, retrained(new, name)) for name in baselines},
    }


def on_test(table: dict[str, Any], models: tuple[str, ...]) -> dict[str, Any]:
    """Return the accuracies (percent) of models on test images, by row, from the run's table."""
    places = [table["columns"].index(name) for name in models]
    return {
        row: {
            "n": table["n"][row],
            "accuracy": [values[place] for place in places],
            "interval": [table["intervals"][row][place] for place in places],
        }
        for row, values in table["rows"].items()
    }


def on_validation(recipe: Recipe, run: Path, models: tuple[str, ...]) -> dict[str, Any]:
    """Return the accuracies (percent) of models on validation images, by row."""
    builder = Builder.open(recipe, default_device())
    found = [validated(builder, run, name) for name in models]
    return {
        row: {
            "n": len(found[0][row]),
            "accuracy": [round(100 * float(right[row].mean()), 2) for right in found],
        }
        for row in found[0]
    }


def validated(builder: Builder, run: Path, name: str) -> dict[str, BoolArray]:
    """Return the outcomes of a model on validation images; rows that are done are read."""
    recipe, images = builder.recipe, builder.training_data.validation
    suite = tuple(r for r in builder.suite() if isinstance(r.attack, PGD | WorstOfDraws))
    stages = {
        s.id: s for s in plan_stages(recipe, "", images.fingerprint(), settings=builder.settings)
    }
    stage, folder = stages[stage_id("evaluate", name)], run / model_folder(name)
    keys = stage.row_keys(digest_of(folder / WEIGHTS))
    path = run / "validation" / f"{slug(name)}.npz"
    path.parent.mkdir(exist_ok=True)
    kept = PartialRows(path, 30, print, settings=json.dumps({r.name: keys[r.name] for r in suite}))
    counts = {row.name: row.count(len(images)) for row in suite}
    with threads(recipe.threads):
        outcomes = evaluate(
            builder.ready(load_model(folder)).eval(),
            images,
            suite,
            **asdict(builder.settings),
            done=dict(kept.done),
            keep=lambda row, right: kept.keep(row, right, whole=len(right) == counts[row]),
        )
    return dict(outcomes.right)


def retrained(recipe: Recipe, name: str) -> float:
    """Return by what factor a network's passes grow if it trains on all that the mixture knows."""
    mixture, raw = recipe.mixtures[last_mixture(recipe)], recipe.model_dump(mode="json")
    old = raw["models"][name]["against"]
    added = [known for known in mixture.against if known not in (*old, "clean")]
    raw["models"][name]["against"] = [*old, *added]
    return passes(parse_recipe(raw), name) / passes(recipe, name)


def passes(recipe: Recipe, name: str) -> float:
    """Return how many images the training of a model sends through networks."""
    stages = {s.id: s for s in plan_stages(recipe, "", "")}
    builder = Builder.open(recipe, torch.device("cpu"))
    found = network_passes(builder, stages[stage_id("train", name)])
    return found.forward + found.backward


def cost(table: dict[str, Any], name: str, factor: float = 1) -> dict[str, float]:
    """Return the cost of a model's own training, times a factor."""
    took = table["models"][name]["training"]
    passes = round(factor * (took["forward"] + took["backward"]))
    return {"seconds": round(factor * took["seconds"], 1), "passes": passes}


def markdown(found: dict[str, Any]) -> str:
    """Return one extension as a table and a sentence on its cost."""
    was, grown = found["models"]
    lines = [
        f"## + {', '.join(found['added'])}\n",
        f"| attack | {was} | {grown} | change | n | validation: before | after | change | n |",
        f"| --- |{' ---: |' * 8}",
    ]
    for name, row in found["rows"].items():
        shown = [name, *map(with_interval, row["accuracy"], row["interval"]), *change(row)]
        if judged := found["validation"].get(name):
            shown += [*(f"{value:.1f}" for value in judged["accuracy"]), *change(judged)]
        lines.append(f"| {' | '.join([*shown, *[''] * (9 - len(shown))])} |")
    return "\n".join([*lines, f"\n{cost_in_words(found)}\n"])


def cost_in_words(found: dict[str, Any]) -> str:
    """Return what an extension cost, beside the baselines trained again with what is new."""
    took = ", ".join(f"{name} {c['seconds']:.1f} s" for name, c in found["cost"].items())
    ours = {key: sum(c[key] for c in found["cost"].values()) for key in ("seconds", "passes")}
    longest = max(c["seconds"] for c in found["cost"].values())  # if all train at the same time
    shares = "; ".join(
        f"{100 * ours['passes'] / c['passes']:.1f}% of the passes and "
        f"{100 * ours['seconds'] / c['seconds']:.1f}% of the seconds of {name} "
        f"({100 * longest / c['seconds']:.1f}% side by side)"
        for name, c in found["cost_anew"].items()
    )
    end = f": {shares}, trained anew with what is new" if shares else ""
    return f"Training took {ours['seconds']:.1f} s ({took}){end}."


def change(row: dict[str, Any]) -> list[str]:
    """Return the difference between two accuracies, and the number of images."""
    before, after = row["accuracy"]
    return [f"{after - before:+.1f}", str(row["n"])]


def with_interval(accuracy: float, interval: tuple[float, float]) -> str:
    """Return an accuracy with its interval."""
    low, high = interval
    return f"{accuracy:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
