"""A named model as an application: what ``morex serve`` puts together."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from starlette.applications import Starlette

from morex.artifacts.class_words import word_of
from morex.core.units import listed, plural
from morex.deploy.classify import Classifier
from morex.deploy.intake import Limits
from morex.deploy.lab import USUAL, Lab
from morex.deploy.lessons import gate_lessons
from morex.deploy.playground import Playground
from morex.deploy.samples import samples
from morex.deploy.service import Service, application
from morex.models.mixture import Ensemble
from morex.models.named_model import NamedModel
from morex.recipe import Recipe

_ALL = 2**31
"""More classes than any model has."""


@dataclass(frozen=True)
class Served:
    """An application, and what ends its threads."""

    app: Starlette
    close: Callable[[], None]
    service: Service


def served(
    model: NamedModel,
    recipe: Recipe | None,
    device: torch.device,
    hosts: Collection[str],
    limits: Limits,
    *,
    page: bool = True,
) -> Served:
    """Return the application of a model.

    Args:
        model: a saved model.
        recipe: its recipe, whose perturbations the playground has; None if it has none.
        device: where to compute.
        hosts: the names under which the server may be addressed; any if there are none.
        limits: how much is taken.
        page: whether there is a playground.

    Raises:
        ModelError: if a file of the model is damaged.
    """
    classifier = Classifier.open(model, device, _ALL)
    lessons = gate_lessons(classifier.network, model, recipe)
    title = str(model.about.get("name") or model.name)
    service = Service(
        classifier,
        about={"model": title, "weights": model.digest},
        taken_for=lambda prediction: lessons.taken_for(prediction.gate),
        limits=limits,
    )
    if not page:
        return Served(application(service, hosts), service.close, service)
    perturbations = recipe.perturbations if recipe else USUAL
    playground = Playground(
        service,
        Lab(classifier.network, perturbations, device),
        title,
        _subject(classifier, recipe),
        samples(model, recipe, classifier.size, {**os.environ}),
        lessons,
    )

    def close() -> None:
        service.close()
        playground.close()

    return Served(application(service, hosts, playground.routes()), close, service)


def _subject(classifier: Classifier, recipe: Recipe | None) -> str:
    """Return one line about a model: data, images, classes and experts."""
    parts: list[str] = [recipe.data.name] if recipe else []
    if classifier.size:
        parts.append("{}x{} pixels".format(*classifier.size))
    if classifier.classes:
        few = listed([word_of(name) for name in classifier.classes])
        several = plural(len(classifier.classes), "class").replace("classs", "classes")
        parts.append(few if len(few) < 90 else several)
    network: Any = classifier.network
    if isinstance(network, Ensemble):
        parts.append(plural(len(network.expert_names), "expert"))
    return "; ".join(parts)
