"""``morex evaluate``: attack a saved model by itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from morex.evaluation import evaluate
from morex.files import write_atomically
from morex.outcomes import BoolArray, Outcomes, Proportion
from morex.recipe import Recipe, load_recipe, parse_recipe
from morex.run import Workshop
from morex.run.cores import threads
from morex.run.provenance import provenance
from morex.saving import load_about, load_model
from morex.shipped import find_model


def evaluate_saved(
    model: str,
    *,
    recipe: str | None,
    folder: Path | None,
    examples: int | None,
    seed: int,
    device: torch.device,
    out: Path | None,
    say: Callable[[str], None],
) -> Outcomes:
    """Attack the model in a folder, say every row as it is done, and return the outcomes.

    Args:
        model: a saved model's folder, or the name of a shipped one.
        recipe: whose data and suite to use; None for those the model was made with.
        folder: of the data, if not the recipe's.
        examples: test images at most.
        seed: of the attacks.
        device: where to do it.
        out: file for the outcomes; what they rest on is written beside it, as JSON.
        say: is given lines of text.

    Raises:
        ModelError: if there is no such model.
        ValueError: if the model carries no recipe and none is given, or it does not fit the data.
    """
    network = load_model(model, device=device)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)  # may fail: before the work
    chosen = load_recipe(recipe) if recipe else _own_recipe(model)
    workshop = Workshop.open(_changed(chosen, folder, examples), device)
    classes, images = load_about(model).get("classes"), workshop.test_data
    if classes is not None and tuple(classes) != images.classes:
        raise ValueError(
            f"{model} tells {len(classes)} classes apart, which are not the {len(images.classes)} "
            f"of {workshop.data.name}; give the data it was made for with --recipe or --data"
        )
    say(f"{len(images)} test images of {workshop.data.name}, seed {seed}, on {device}")

    counts = {row.name: row.count(len(images)) for row in workshop.suite()}

    def keep(name: str, right: BoolArray) -> None:
        if len(right) == counts[name]:
            say(_line(name, Proportion.of(right)))

    with threads(chosen.threads):
        outcomes = evaluate(
            workshop.ready(network).eval(),
            images,
            workshop.suite(),
            seed=seed,
            batch_size=chosen.evaluation.batch_size,
            keep=keep,
        )
    say(_line("union", Proportion.of(outcomes.union())))
    say(f"{'mean':<14} {100 * outcomes.mean():5.1f}%")
    if out:
        _save(outcomes, out, {"model": str(model), "seed": seed, **provenance(device)})
        say(f"outcomes are in {out}")
    return outcomes


def _save(outcomes: Outcomes, path: Path, about: dict[str, Any]) -> None:
    """Write the outcomes, and beside them the figures with what they rest on."""
    outcomes.save(path)
    shares = {row: outcomes.accuracy(row) for row in outcomes.rows}
    shares["union"] = Proportion.of(outcomes.union())
    figures = {
        row: {"accuracy": share.value, "interval": share.interval, "n": share.n}
        for row, share in shares.items()
    }
    content = json.dumps({**about, "rows": figures}, indent=1)
    write_atomically(path.with_suffix(".json"), content.encode())


def _line(name: str, share: Proportion) -> str:
    low, high = (100 * end for end in share.interval)
    return (
        f"{name:<14} {100 * share.value:5.1f}%  95% interval {low:.1f} to {high:.1f}, n {share.n}"
    )


def _own_recipe(model: str) -> Recipe:
    """Return the recipe of the run that a model lies in, else the one that is saved with it."""
    folder = find_model(model).resolve()
    run = folder.parent.parent
    if folder.parent.name == "models" and (run / "recipe.yaml").is_file():
        return load_recipe(str(run / "recipe.yaml"))
    about = load_about(model)
    if "recipe" not in about:
        raise ValueError(f"{model} was saved without a recipe; give one with --recipe")
    own: dict[str, Any] = about["recipe"]
    nothing_to_train = {
        "name": str(about.get("name", "model")),
        "network": {},
        "models": {"none": {"against": next(iter(own["perturbations"]))}},
        "columns": ["none"],
    }
    return parse_recipe({**own, **nothing_to_train}, f"the recipe in {model}")


def _changed(recipe: Recipe, folder: Path | None, examples: int | None) -> Recipe:
    data = recipe.data.model_copy(update={"folder": str(folder)} if folder else {})
    evaluation = recipe.evaluation.model_copy(update={"examples": examples} if examples else {})
    return recipe.model_copy(update={"data": data, "evaluation": evaluation})
