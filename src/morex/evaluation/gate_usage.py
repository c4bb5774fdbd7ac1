"""Gate usage: the mean weight that a gate gives every expert under every perturbation.

It also has how often the experts agree: moving weight between two that agree changes little.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import log

import torch
from torch import Tensor

from morex.artifacts.class_words import NOT_FINITE
from morex.artifacts.gate_usage import GateUsage
from morex.attacks import PGD, Attack, Model, SearchAround, WorstOfDraws, frozen
from morex.core.precision import exact_settings
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.data.given import Given, images_for
from morex.evaluation.suite import Suite
from morex.models.answers import expert_answers
from morex.models.mixture import Mixture


def gate_usage(
    mixture: Mixture,
    data: Given,
    suite: Suite,
    *,
    examples: int = 200,
    seed: int = 0,
    batch_size: int = 256,
) -> GateUsage:
    """Measure the gate's weights on the first test images, attacked by the rows of a suite.

    Only rows with PGD or draws of transforms are measured. PGD runs one restart, without stopping
    early. Attacks are on the whole mixture, as in an evaluation.

    Args:
        mixture: the model; an ``ImageSet`` must be on its device.
        data: test images in any form that ``evaluate`` takes.
        suite: the attacks.
        examples: at most this many images.
        seed: of the attacks.
        batch_size: images attacked at a time.
    """
    data = images_for(mixture, data)
    images = data.first(examples)
    weights, leads, entropy = {}, {}, {}
    classes: list[Tensor] = []
    with exact_settings(data.device), frozen(mixture), torch.no_grad():
        for row in suite:
            if attack := one_run(row.attack):
                place = ("gate", row.name)
                by_loss = attack.by_loss()  # to see the gate at full strength
                batches = moved_batches(mixture, images, by_loss, place, seed, batch_size)
                answers = [expert_answers(mixture, moved) for moved in batches]
                found = torch.cat([a.weights for a in answers if a.weights is not None])
                classes += [a.classes for a in answers]
                first = torch.nn.functional.one_hot(found.argmax(1), found.shape[1]).float()
                weights[row.name], leads[row.name] = _means(found), _means(first)
                entropy[row.name] = _means(_bits(found))[0]
    return GateUsage(
        experts=mixture.expert_names,
        weights=weights,
        leads=leads,
        entropy=entropy,
        agreement=agreement(torch.cat(classes)) if classes else (),
        n=len(images),
    )


def agreement(classes: Tensor) -> tuple[tuple[float, ...], ...]:
    """Return how often each pair of m experts predicts the same class, (m, m) shares.

    Args:
        classes: the classes that the experts predict for N images, (N, m). Where an answer is
            ``NOT_FINITE``, an expert agrees with none.
    """
    some = classes != NOT_FINITE
    return tuple(_means((classes == of_one) & some) for of_one in classes.T.unsqueeze(2))


def one_run(attack: Attack) -> Attack | None:
    """Return PGD with one full run, draws of transforms unchanged, and None for other attacks."""
    if isinstance(attack, PGD):
        return replace(attack, restarts=1, stop_when_fooled=False)
    if isinstance(attack, SearchAround):
        once = one_run(attack.attack)
        return once and replace(attack, attack=once)
    return attack if isinstance(attack, WorstOfDraws) else None


def moved_batches(
    model: Model,
    images: ImageSet,
    attack: Attack,
    place: tuple[str, ...],
    seed: int,
    batch_size: int,
) -> Iterator[Tensor]:
    """Yield the attacked images, batch by batch, (batch, C, H, W).

    Args:
        model: the model to attack.
        images: the images to attack.
        attack: the attack.
        place: a name for the random draws, which depend on it and on the seed.
        seed: of the attack.
        batch_size: images attacked at a time.
    """
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        generator = generator_for(seed, *place, start, device=images.device)
        yield attack(model, images.pixels(rows), images.labels[rows], generator=generator)


def _bits(weights: Tensor) -> Tensor:
    """Return the entropy of every image's weights in bits, (n, 1)."""
    return torch.xlogy(weights, weights).sum(1, keepdim=True).abs() / log(2)  # never -0.0


def _means(values: Tensor) -> tuple[float, ...]:
    return tuple(round(mean, 4) for mean in values.double().mean(0).tolist())
