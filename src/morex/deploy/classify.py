"""What a model predicts for pictures, and what the experts and the gate of a mixture do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from morex.artifacts.class_words import NOT_ASKED, class_name, word_of
from morex.artifacts.gate_usage import entropy_in_bits
from morex.core.threads import threads_for
from morex.core.units import listed, percent
from morex.data import DataError
from morex.data.decode import decode
from morex.models.answers import ExpertAnswers, logits_and_answers
from morex.models.named_model import NamedModel
from morex.report.gate_words import gate_decision
from morex.report.predictions import ExpertSays, Prediction

_AT_A_TIME = 64
"""Pictures that are classified at a time, if all have the size of the model's images."""

Refuse = Callable[[Path, str], None]
"""Called with a picture that cannot be used, and with the reason."""


@dataclass(frozen=True)
class Classifier:
    """A model that classifies picture files.

    Attributes:
        network: the model, in evaluation mode.
        classes: the names of its classes; if they are not known, class k is called "k".
        size: the height and width of its images; empty if they are not known.
        device: where it computes.
        top: how many of the most probable classes are kept.
    """

    network: nn.Module
    classes: tuple[str, ...]
    size: tuple[int, ...]
    device: torch.device
    top: int

    @classmethod
    def open(cls, model: NamedModel, device: torch.device, top: int) -> "Classifier":
        """Load a model.

        Raises:
            ModelError: if a file of the model is damaged.
        """
        about = model.about
        classes, size = tuple(about.get("classes") or ()), tuple(about.get("image_size") or ())
        return cls(model.load(device), classes, size, device, top)

    def classify(self, pictures: Sequence[Path], refuse: Refuse) -> Iterator[Prediction]:
        """Yield a prediction for every picture that can be used, in their order.

        Pictures become RGB and are cropped to their central square, which is resized to the size of
        the model's images. If that size is not known, they are used at their own size.
        """
        step = _AT_A_TIME if self.size else 1
        for start in range(0, len(pictures), step):
            read = [*self._read(pictures[start : start + step], refuse)]
            if read:
                paths, pixels = zip(*read, strict=True)
                yield from self.predictions([str(path) for path in paths], torch.stack(pixels))

    def _read(self, pictures: Sequence[Path], refuse: Refuse) -> Iterator[tuple[Path, Tensor]]:
        for path in pictures:
            try:
                yield path, self.prepared(path)
            except DataError as error:
                refuse(path, str(error))

    def prepared(self, content: bytes | Path, most: int | None = None) -> Tensor:
        """Return a picture as the model sees it, uint8 (3, H, W).

        Args:
            content: the encoded picture, or its file.
            most: the most pixels that it may have, if that is less than is read anyway.

        Raises:
            UnknownFormatError, TooLargeError, DataError: if it cannot be used.
        """
        square = self.size[0] if len(set(self.size)) == 1 else None
        return self._fitting(decode(content, square, most=most))

    def _fitting(self, pixels: Tensor) -> Tensor:
        """Return the pixels (3, H, W) of a picture; raise if the model needs another size."""
        found = tuple(pixels.shape[1:])
        if self.size and found != self.size:
            raise DataError(
                f"the image is {found[0]}x{found[1]}, but the model was trained on "
                f"{self.size[0]}x{self.size[1]}; resize the picture"
            )
        return pixels

    @torch.no_grad()
    def predictions(self, sources: Sequence[str], pixels: Tensor) -> list[Prediction]:
        """Return the predictions for prepared pictures.

        Args:
            sources: what the pictures are called.
            pixels: uint8 (N, 3, H, W).
        """
        x = pixels / 255
        with threads_for(self.network, tuple(x.shape), self.device):
            images = x.to(self.device)
            logits, answers = logits_and_answers(self.network, images)
            logits = logits.float().cpu()
        names = self.classes or tuple(map(str, range(logits.shape[1])))
        experts = _said(answers, names)
        rows = zip(sources, x.numpy(), logits.softmax(1), experts, strict=True)
        return [
            Prediction(source, picture, self._probable(shares, names), said)
            for source, picture, shares, said in rows
        ]

    def _probable(self, shares: Tensor, names: Sequence[str]) -> tuple[tuple[str, float], ...]:
        top = shares.topk(min(self.top, len(shares)))
        found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return tuple((names[k], share) for k, share in found)


def _said(answers: ExpertAnswers, names: Sequence[str]) -> list[tuple[ExpertSays, ...]]:
    """Return the predictions of the experts for every picture; none for a single network."""
    classes = answers.classes.tolist()
    nothing = [[None] * len(answers.names)] * len(classes)
    weights = nothing if answers.weights is None else answers.weights.tolist()
    return [
        tuple(
            ExpertSays(name, None if k == NOT_ASKED else class_name(names, k), weight)
            for name, k, weight in zip(answers.names, row, shares, strict=True)
        )
        for row, shares in zip(classes, weights, strict=True)
    ]


def in_words(prediction: Prediction, top: int) -> str:
    """Return the file, its ``top`` classes, and a mixture's gate weights with what they mean."""
    classes = ", ".join(
        f"{word_of(name)} ({percent(share)})" for name, share in prediction.classes[:top]
    )
    weights = prediction.gate
    line = f"{prediction.source}: {classes}"
    if not prediction.experts:
        return line
    if weights:
        line += "; gate: " + ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
    return "\n".join([line, f"  {'; '.join(_meaning(prediction))}"])


def _meaning(prediction: Prediction) -> Iterator[str]:
    """Yield what the experts predict, and what the gate did."""
    said: dict[str, list[str]] = {}
    for expert in prediction.experts:
        word = "not asked" if expert.said is None else word_of(expert.said)
        said.setdefault(word, []).append(expert.name)
    if len(said) == 1:
        yield f"all experts predict {next(iter(said))}"
    else:
        yield ", ".join(f"{listed(names)}: {word}" for word, names in said.items())
    if prediction.gate:
        yield gate_decision(prediction.gate)


def in_json(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON; a class with an identifier of WordNet has its word as well."""
    top = [{**_named(name), "probability": share} for name, share in prediction.classes]
    found: dict[str, Any] = {"file": prediction.source, **top[0], "top": top}
    if prediction.experts:
        found["experts"] = [
            {"name": e.name, **_named(e.said)} | ({} if e.weight is None else {"weight": e.weight})
            for e in prediction.experts
        ]
    if prediction.gate:
        bits = entropy_in_bits([*prediction.gate.values()])
        found |= {"entropy_bits": bits, "largest_entropy_bits": log2(len(prediction.gate))}
    return found


def _named(name: str | None) -> dict[str, str | None]:
    """Return the name of a class, with its word if it has one; None for an expert not asked."""
    word = None if name is None else word_of(name)
    return {"class": name} if word == name else {"class": name, "word": word}
