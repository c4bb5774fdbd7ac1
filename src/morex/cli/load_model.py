"""The model that a user names on the command line, with the data and attacks for it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morex.artifacts.model_sets import read_set
from morex.core.files import write_atomically
from morex.core.precision import default_device
from morex.data.cifar10c import SEVERITIES
from morex.models.external import Foreign, ForeignConfig, better_range, check_answers, is_factory
from morex.models.locate import find_model
from morex.models.save import load_about, load_model
from morex.recipe import Recipe, load_recipe, load_suite, parse_recipe
from morex.run import Workshop
from morex.run.provenance import provenance


@dataclass(frozen=True)
class EvaluationRequest:
    """Which model to evaluate, with which recipe, and how.

    Args:
        model: a saved model's folder, a shipped name, ``hf://owner/name``, or
            ``package.module:factory``.
        recipe: the recipe whose data, perturbations and suite to use; None for the model's own.
        suite: a suite to use instead of the recipe's.
        folder: the folder with the data, if not the recipe's.
        examples: how many test images to use at most.
        seed: seed of the attacks.
        device: where to evaluate.
        out: file to write the results to.
        corrupted: a folder of published corruptions to use instead of the suite.
        severities: which severities of these corruptions to use.
        input_range: pixel range that a foreign classifier expects, a key of ``RANGES``.
        mean, std: per channel, what a foreign classifier expects its pixels to be normalised with.
    """

    model: str
    recipe: str | None = None
    suite: str | None = None
    folder: Path | None = None
    examples: int | None = None
    seed: int = 0
    device: torch.device = field(default_factory=default_device)
    out: Path | None = None
    corrupted: Path | None = None
    severities: tuple[int, ...] = SEVERITIES
    input_range: str = "0..1"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def open_for_evaluation(
    request: EvaluationRequest, say: Callable[[str], None]
) -> tuple[nn.Module, Workshop]:
    """Return the model, in evaluation mode on its device, and a workshop with its data and suite.

    Raises:
        ModelError: if there is no such model.
        ForeignModelError: if a classifier cannot be made, or does not return logits.
        ValueError: if neither the request nor the model has a recipe, or if the model does not fit
            the data.
    """
    if request.out:
        request.out.parent.mkdir(parents=True, exist_ok=True)  # fail before the work, not after it
    foreign = is_factory(request.model)
    network = _foreign(request) if foreign else load_model(request.model, device=request.device)
    workshop = Workshop.open(_chosen(request, foreign), request.device)
    network = workshop.ready(network).eval()
    if foreign:
        _check_foreign(network, workshop, say)
    else:
        _check_classes(request.model, workshop)
    return network, workshop


def write_json(request: EvaluationRequest, path: Path, content: dict[str, Any]) -> None:
    """Write results as JSON, with the model, seed, hardware and versions that produced them."""
    made_by = provenance(request.device).content()
    facts = {"model": request.model, "seed": request.seed, **made_by, **content}
    write_atomically(path, json.dumps(facts, indent=1).encode())


def _foreign(request: EvaluationRequest) -> nn.Module:
    """Return a foreign classifier as a model that takes pixels in [0, 1]."""
    config = ForeignConfig(request.model, request.input_range, request.mean, request.std)
    return Foreign(config).to(request.device)


def _chosen(request: EvaluationRequest, foreign: bool) -> Recipe:
    """Return the recipe to evaluate with, changed as the request asks."""
    if request.recipe:
        recipe = load_recipe(request.recipe)
    elif foreign:
        raise ValueError(
            f"{request.model} has no recipe; add --recipe with the name or file of one, whose data "
            "and perturbations are then used"
        )
    else:
        recipe = _own_recipe(request.model)
    data = {"folder": str(request.folder)} if request.folder else {}
    evaluation: dict[str, Any] = {"examples": request.examples} if request.examples else {}
    if request.suite:
        evaluation["rows"] = load_suite(request.suite, recipe.attacked())
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update=data),
            "evaluation": recipe.evaluation.model_copy(update=evaluation),
        }
    )


def _check_classes(model: str, workshop: Workshop) -> None:
    classes, images = load_about(model).get("classes"), workshop.test_data
    if classes is not None and tuple(classes) != images.classes:
        raise ValueError(
            f"the {len(classes)} classes of {model} are not the {len(images.classes)} classes of "
            f"{workshop.data.name}; give the data that it was trained on with --recipe or --data"
        )


def _check_foreign(network: nn.Module, workshop: Workshop, say: Callable[[str], None]) -> None:
    """Refuse a classifier that does not return logits; warn if another pixel range fits better."""
    images = workshop.test_data.first(256)
    x, y = images.pixels(slice(0, 256)), images.labels
    check_answers(network, x[:2], len(images.classes))
    assert isinstance(network, Foreign)
    better = better_range(network.classifier, network, x, y, workshop.pixel_statistics)
    if better:
        say(f"warning: --input-range looks wrong: {better}")


def _own_recipe(model: str) -> Recipe:
    """Return the recipe of the run or set that contains a model, or the one saved with it."""
    folder = find_model(model).resolve()
    run = folder.parent.parent
    if folder.parent.name == "models" and (run / "recipe.yaml").is_file():
        return load_recipe(str(run / "recipe.yaml"))
    about = load_about(model)
    found = read_set(folder.parent)
    own: dict[str, Any] | None = (found and found.recipe) or about.get("recipe")
    if own is None:
        raise ValueError(f"{model} was saved without a recipe; name one with --recipe")
    nothing_to_train = {
        "name": str(about.get("name", "model")),
        "network": {},
        "models": {"none": {"against": next(iter(own["perturbations"]))}},
        "columns": ["none"],
    }
    return parse_recipe({**own, **nothing_to_train}, f"the recipe in {model}")
