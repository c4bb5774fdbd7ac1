"""What a model predicts for pictures, and what the experts of a mixture predict."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from morex.core.units import percent
from morex.data import DataError, read_pictures
from morex.models.answers import ExpertAnswers, expert_answers
from morex.models.named import NamedModel
from morex.report.predictions import ExpertSays, Prediction

_MOST = 5
"""How many of the most probable classes are kept."""


@torch.no_grad()
def classify(model: NamedModel, pictures: Sequence[Path]) -> list[Prediction]:
    """Return what a model predicts for pictures.

    Raises:
        ModelError: if a file of the model is damaged.
        DataError: if a picture cannot be read.
    """
    network, about = model.load(), model.about
    x = _read(pictures, tuple(about.get("image_size", ()))) / 255
    probabilities = torch.softmax(network(x).float(), dim=1)
    classes = about.get("classes") or [str(k) for k in range(probabilities.shape[1])]
    experts = _predictions(expert_answers(network, x), classes)
    return [
        Prediction(str(picture), pixels, _probable(shares, classes), said)
        for picture, pixels, shares, said in zip(
            pictures, x.numpy(), probabilities, experts, strict=True
        )
    ]


def _probable(shares: Tensor, classes: Sequence[str]) -> tuple[tuple[str, float], ...]:
    top = shares.topk(min(_MOST, len(shares)))
    found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return tuple((classes[k], share) for k, share in found)


def _predictions(experts: ExpertAnswers, classes: Sequence[str]) -> list[tuple[ExpertSays, ...]]:
    """Return the predictions of the experts for every picture; none for a single network."""
    said = experts.classes.tolist()
    nothing = [[None] * len(experts.names)] * len(said)
    weights = nothing if experts.weights is None else experts.weights.tolist()
    return [
        tuple(
            ExpertSays(name, classes[k], weight)
            for name, k, weight in zip(experts.names, answers, shares, strict=True)
        )
        for answers, shares in zip(said, weights, strict=True)
    ]


def in_words(prediction: Prediction) -> str:
    """Return a line with the file, the class, its probability, and a mixture's gate weights."""
    name, share = prediction.classes[0]
    line = f"{prediction.source}: {name} ({percent(share)})"
    weights = [f"{e.name} {e.weight:.2f}" for e in prediction.experts if e.weight is not None]
    return line + ("; gate: " + ", ".join(weights) if weights else "")


def _read(pictures: Sequence[Path], size: tuple[int, ...]) -> Tensor:
    """Read pictures at the size (H, W) that a model was trained on; only squares are resized to."""
    if len(set(size)) == 1:
        return read_pictures(pictures, size[0])
    x = read_pictures(pictures, None)
    if size and x.shape[2:] != size:
        raise DataError(
            f"{pictures[0]} has {x.shape[2]}x{x.shape[3]} pixels, the model was trained on "
            f"{size[0]}x{size[1]}; resize the picture"
        )
    return x
