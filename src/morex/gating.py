"""What the gate of a mixture does: the mean weight of every expert under every perturbation."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from morex.attacks import PGD, Attack, SearchAround, WorstOfDraws, frozen
from morex.data import ImageSet
from morex.evaluation import Suite
from morex.mixture import Mixture
from morex.randomness import generator_for


@dataclass(frozen=True)
class GateUse:
    """How a gate spreads its weight.

    Attributes:
        experts: the mixture's experts.
        weights: for each row the mean weight of every expert, which sum to 1.
        leads: for each row the share of images on which an expert has the largest weight.
        n: number of images.
    """

    experts: tuple[str, ...]
    weights: dict[str, tuple[float, ...]]
    leads: dict[str, tuple[float, ...]]
    n: int


def gate_use(
    mixture: Mixture,
    data: ImageSet,
    suite: Suite,
    *,
    examples: int = 200,
    seed: int = 0,
    batch_size: int = 256,
) -> GateUse:
    """Measure the gate's weights on images that attacks have made from the first test images.

    Of the suite the rows with PGD (one restart, to its last step) and draws of transforms count;
    the attacks are on the whole mixture, as in an evaluation.

    Args:
        mixture: the model, on the device of the data.
        data: test images.
        suite: the attacks.
        examples: how many images at most.
        seed: of the attacks.
        batch_size: images at a time.
    """
    images = data.first(examples)
    weights, leads = {}, {}
    with frozen(mixture):
        for row in suite:
            if attack := _once(row.attack):
                batches = _weights(mixture, images, attack, row.name, seed, batch_size)
                found = torch.cat([*batches])
                first = torch.nn.functional.one_hot(found.argmax(1), found.shape[1]).float()
                weights[row.name], leads[row.name] = _means(found), _means(first)
    return GateUse(mixture.expert_names, weights, leads, len(images))


def _once(attack: Attack) -> Attack | None:
    """Return one run of an attack to its end; None for attacks that are left out."""
    if isinstance(attack, PGD):
        return replace(attack, restarts=1, stop_when_fooled=False)
    if isinstance(attack, SearchAround):
        once = _once(attack.attack)
        return once and replace(attack, attack=once)
    return attack if isinstance(attack, WorstOfDraws) else None


def _weights(
    mixture: Mixture, images: ImageSet, attack: Attack, row: str, seed: int, batch_size: int
) -> Iterator[Tensor]:
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        generator = generator_for(seed, "gate", row, start, device=images.device)
        moved = attack(mixture, images.pixels(rows), images.labels[rows], generator=generator)
        with torch.no_grad():
            yield mixture.gate_weights(moved)


def _means(values: Tensor) -> tuple[float, ...]:
    return tuple(round(mean, 4) for mean in values.double().mean(0).tolist())
