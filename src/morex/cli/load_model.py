"""From what a user names on the command line to a model, and the data and attacks for it."""

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
class Request:
    """What is to be evaluated, and how.

    Args:
        model: a saved model's folder, a shipped name, or ``package.module:factory``.
        recipe: whose data, perturbations and suite to use; None for those the model was made with.
        suite: a suite to use instead of the recipe's.
        folder: of the data, if not the recipe's.
        examples: test images at most.
        seed: of the attacks.
        device: where to do it.
        out: file for the results.
        input_range: of a foreign classifier, a key of ``RANGES``.
        corrupted: a folder of published corruptions to use instead of the suite.
        severities: of those.
        mean, std: with which a foreign classifier wants its pixels normalised.
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


def opened(request: Request, say: Callable[[str], None]) -> tuple[nn.Module, Workshop]:
    """Return the model, in evaluation mode on its device, and the workshop with data and suite.

    Raises:
        ModelError: if there is no such model.
        ForeignModelError: if a classifier cannot be made, or its answers are not logits.
        ValueError: if the model carries no recipe and none is given, or it does not fit the data.
    """
    if request.out:
        request.out.parent.mkdir(parents=True, exist_ok=True)  # may fail: before the work
    foreign = is_factory(request.model)
    network = _foreign(request) if foreign else load_model(request.model, device=request.device)
    workshop = Workshop.open(_chosen(request, foreign), request.device)
    network = workshop.ready(network).eval()
    if foreign:
        _check_foreign(network, workshop, say)
    else:
        _check_classes(request.model, workshop)
    return network, workshop


def write_json(request: Request, path: Path, content: dict[str, Any]) -> None:
    """Write what was found of the model, together with what it rests on."""
    made_by = {"model": request.model, "seed": request.seed, **provenance(request.device)}
    write_atomically(path, json.dumps({**made_by, **content}, indent=1).encode())


def _foreign(request: Request) -> nn.Module:
    """Return a foreign classifier as a model of pixels in [0, 1]."""
    config = ForeignConfig(request.model, request.input_range, request.mean, request.std)
    return Foreign(config).to(request.device)


def _chosen(request: Request, foreign: bool) -> Recipe:
    """Return the recipe that says what is attacked with what, changed as was asked for."""
    if request.recipe:
        recipe = load_recipe(request.recipe)
    elif foreign:
        raise ValueError(
            f"{request.model} carries no recipe; name one with --recipe, for its data and "
            "perturbations"
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
            f"{model} tells {len(classes)} classes apart, which are not the {len(images.classes)} "
            f"of {workshop.data.name}; give the data it was made for with --recipe or --data"
        )


def _check_foreign(network: nn.Module, workshop: Workshop, say: Callable[[str], None]) -> None:
    """Refuse what does not answer with logits; warn where another range would do better."""
    images = workshop.test_data.first(256)
    x, y = images.pixels(slice(0, 256)), images.labels
    check_answers(network, x[:2], len(images.classes))
    assert isinstance(network, Foreign)
    better = better_range(network.classifier, network, x, y, workshop.pixel_statistics)
    if better:
        say(f"warning: the declared range of pixels looks wrong: {better}")


def _own_recipe(model: str) -> Recipe:
    """Return the recipe of the run or the set that a model lies in, else what is saved with it."""
    folder = find_model(model).resolve()
    run = folder.parent.parent
    if folder.parent.name == "models" and (run / "recipe.yaml").is_file():
        return load_recipe(str(run / "recipe.yaml"))
    about = load_about(model)
    found = read_set(folder.parent)
    own: dict[str, Any] | None = (found and found.recipe) or about.get("recipe")
    if own is None:
        raise ValueError(f"{model} was saved without a recipe; give one with --recipe")
    nothing_to_train = {
        "name": str(about.get("name", "model")),
        "network": {},
        "models": {"none": {"against": next(iter(own["perturbations"]))}},
        "columns": ["none"],
    }
    return parse_recipe({**own, **nothing_to_train}, f"the recipe in {model}")
