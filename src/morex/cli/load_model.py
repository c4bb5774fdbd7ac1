"""The model that a user names on the command line, with the data and attacks for it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from morex.core.files import write_atomically
from morex.core.precision import default_device
from morex.core.units import listed
from morex.data.cifar10c import SEVERITIES
from morex.models.external import Foreign, better_range, check_answers, draws
from morex.models.hub import on_hub, pinned_address
from morex.models.named import FromFactory, FromFolder, open_model
from morex.models.named_model import NamedModel
from morex.recipe import Recipe, load_recipe, load_suite, parse_recipe
from morex.run import Builder
from morex.run.provenance import provenance


@dataclass(frozen=True)
class EvaluationRequest:
    """Which model to evaluate, with which recipe, and how.

    Args:
        model: a saved model's folder, a shipped name, ``hf://owner/name``, or
            ``path/to/file.py:factory``.
        recipe: the recipe whose data, perturbations and suite to use; None for the model's own.
        suite: a suite to use instead of the recipe's.
        folder: the folder with the data, if not the recipe's.
        examples: how many test images to use at most.
        seed: seed of the attacks.
        device: where to evaluate.
        out: file to write the results to.
        corrupted: a folder of published corruptions to use instead of the suite, or ``generated``.
        severities: which severities of these corruptions to use.
        input_range: pixel range that a foreign classifier expects, a key of ``RANGES``.
        mean, std: per channel, what a foreign classifier expects its pixels to be normalised with.
        trust_code: whether code that the model's files name may run.
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
    trust_code: bool = False

    @property
    def generates(self) -> bool:
        """Whether corruptions are generated, not read."""
        return self.corrupted == Path("generated") and not self.corrupted.is_dir()


class Opened(NamedTuple):
    """A model to evaluate.

    Attributes:
        network: the model, in evaluation mode on its device.
        builder: its data and suite.
        identity: checksums of its weights and its code.
    """

    network: nn.Module
    builder: Builder
    identity: Mapping[str, Any]


def open_for_evaluation(request: EvaluationRequest, say: Callable[[str], None]) -> Opened:
    """Return the model that a request names, with its data and suite.

    Raises:
        ModelError: if there is no such model.
        ForeignModelError: if a classifier cannot be made, or does not return logits.
        ValueError: if neither the request nor the model has a recipe, or if the model does not fit
            the data.
    """
    if request.out:
        if request.out.is_dir():
            raise ValueError(f"--out {request.out} is a folder; give the name of a file")
        request.out.parent.mkdir(parents=True, exist_ok=True)  # fail before the work, not after it
    model = open_model(
        request.model,
        input_range=request.input_range,
        mean=request.mean,
        std=request.std,
        trust_code=request.trust_code,
    )
    _check_options(request, model)
    network = model.load(request.device)
    builder = Builder.open(_chosen(request, model, say), request.device)
    network = builder.ready(network).eval()
    _check_fits(model, builder)
    if isinstance(model, FromFactory):
        _check_foreign(model.load(request.device), builder, say)
    elif not isinstance(model, FromFolder):
        images = builder.test_data.first(2).pixels(slice(0, 2))
        check_answers(network, images, len(builder.test_data.classes))
    return Opened(network, builder, model.identity)


def with_provenance(
    request: EvaluationRequest, identity: Mapping[str, Any], content: Mapping[str, Any]
) -> dict[str, Any]:
    """Return results with the model, its weights, seed, hardware and versions behind them.

    A model on the hub is also named at its commit, under ``pinned``.
    """
    made_by = provenance(request.device).content()
    facts = {"model": request.model, "weights": identity["weights"], "seed": request.seed}
    if on_hub(request.model):
        facts["pinned"] = pinned_address(request.model)
    return {**facts, **made_by, **content}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write results as JSON."""
    write_atomically(path, json.dumps(content, indent=1).encode())


def _chosen(request: EvaluationRequest, model: NamedModel, say: Callable[[str], None]) -> Recipe:
    """Return the recipe to evaluate with, changed as the request asks."""
    recipe = own_recipe(model) if request.recipe is None else load_recipe(request.recipe)
    data = {"folder": str(request.folder)} if request.folder else {}
    evaluation: dict[str, Any] = {"examples": request.examples} if request.examples else {}
    perturbations = dict(recipe.perturbations)
    if request.suite is not None:
        attacks = load_suite(request.suite, recipe.measured())
        if attacks.missing:
            say(
                f"note: {request.suite} also attacks {listed(attacks.missing)}, of which the "
                f"recipe {recipe.name} has none"
            )
        evaluation["rows"], perturbations = attacks.rows, perturbations | {**attacks.perturbations}
    return recipe.model_copy(
        update={
            "perturbations": perturbations,
            "data": recipe.data.model_copy(update=data),
            "evaluation": recipe.evaluation.model_copy(update=evaluation),
        }
    )


def _check_options(request: EvaluationRequest, model: NamedModel) -> None:
    """Raise if an option would have no effect."""
    pixels = (request.input_range, request.mean, request.std)
    if pixels != ("0..1", (), ()) and not isinstance(model, FromFactory):
        raise ValueError(
            f"--input-range, --mean and --std are for torch classifiers by their factory; "
            f"{model.name} is a saved model and knows its pixels; leave them out"
        )
    if request.severities != SEVERITIES and not request.corrupted:
        raise ValueError("--severity chooses among corruptions; give --corrupted as well")


def _check_fits(model: NamedModel, builder: Builder) -> None:
    """Refuse data with other classes, or images of another size, than the model was trained on."""
    classes, images = model.about.get("classes"), builder.test_data
    if classes is not None and tuple(classes) != images.classes:
        raise ValueError(
            f"the {len(classes)} classes of {model.name} are not the {len(images.classes)} classes "
            f"of {builder.data.name}; give the data that it was trained on with --recipe or --data"
        )
    size, found = tuple(model.about.get("image_size") or ()), images.shape[1:]
    if size and size != found:
        raise ValueError(
            f"{model.name} was trained on images of {size[0]}x{size[1]} pixels, but those of "
            f"{builder.data.name} have {found[0]}x{found[1]}; give the data that it was trained "
            "on, or a recipe with data.image_size"
        )


def _check_foreign(network: Foreign, builder: Builder, say: Callable[[str], None]) -> None:
    """Refuse a classifier that does not return logits; warn if another pixel range fits better."""
    images = builder.data.test.sample(256, seed=0).to(builder.device)  # however few are attacked
    x, y = images.pixels(slice(0, 256)), images.labels
    check_answers(network, x[:2], len(images.classes), finite=False)  # the evaluation counts them
    better = better_range(network.classifier, network, x, y, builder.pixel_statistics)
    if better:
        say(f"warning: --input-range looks wrong: {better}")
    if draws(network, x[:16]):
        say(
            "warning: the model answers the same images in different ways, so most attacks are too "
            "weak: use `attack: eot`, which averages over its draws"
        )


def has_recipe(model: NamedModel) -> bool:
    """Return whether a model has a recipe, or lies in a run."""
    return model.recipe is not None or _recipe_of_run(model) is not None


def own_recipe(model: NamedModel) -> Recipe:
    """Return the recipe of the run that contains a model, or the model's own.

    Raises:
        ValueError: if it has none.
    """
    if isinstance(model, FromFolder) and (path := _recipe_of_run(model)):
        return load_recipe(str(path), trust_code=model.trust_code)
    if model.recipe is None:
        raise ValueError(
            f"{model.name} has no recipe; add --recipe with the name or file of one, whose data "
            "and perturbations are then used"
        )
    nothing_to_train = {
        "name": str(model.about.get("name", "model")),
        "network": {},
        "models": {"none": {"against": next(iter(model.recipe["perturbations"]))}},
        "columns": ["none"],
    }
    recipe = {**model.recipe, **nothing_to_train}
    return parse_recipe(recipe, f"the recipe in {model.name}", trust_code=model.trusts_recipe)


def _recipe_of_run(model: NamedModel) -> Path | None:
    """Return the recipe of the run that contains a model; None if it is in no run."""
    if not isinstance(model, FromFolder):
        return None
    models = model.folder.resolve().parent
    path = models.parent / "recipe.yaml"
    return path if models.name == "models" and path.is_file() else None
