"""The page of ``morex predict``: a model's predictions for pictures, with the gate's weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morex.artifacts.class_words import word_of
from morex.core.files import write_atomically
from morex.core.units import percent, plural
from morex.report.gate_words import gate_decision
from morex.report.images import data_address
from morex.report.page import render
from morex.report.sections.base import Section


@dataclass(frozen=True)
class ExpertSays:
    """An expert's name, the class it predicts, and its weight.

    The class is None if a sparse mixture did not ask it, the weight if there is no gate.
    """

    name: str
    said: str | None
    weight: float | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's prediction for one picture.

    Attributes:
        source: file of the picture.
        pixels: what the model saw, (3, H, W) in [0, 1].
        classes: the most probable classes with their probabilities, the largest first.
        experts: predictions of a mixture's experts; empty for a single network.
    """

    source: str
    pixels: NDArray[np.floating]
    classes: tuple[tuple[str, float], ...]
    experts: tuple[ExpertSays, ...] = ()

    @property
    def gate(self) -> dict[str, float]:
        """The weights of a mixture's gate by expert; empty if there is no gate."""
        return {e.name: e.weight for e in self.experts if e.weight is not None}

    @property
    def decision(self) -> str:
        """What the gate did for the picture; empty if there is no gate."""
        return gate_decision(self.gate) if self.gate else ""

    @property
    def address(self) -> str:
        """The picture as a ``data:`` address."""
        return data_address(self.pixels)


def write_predictions(path: Path, model: str, predictions: Sequence[Prediction]) -> None:
    """Write the page to ``path``.

    Raises:
        OSError: if it cannot be written.
    """
    write_atomically(path, to_predictions(model, predictions).encode())


def to_predictions(model: str, predictions: Sequence[Prediction]) -> str:
    """Return the page."""
    content = {"model": model, "predictions": predictions, "word_of": word_of}
    intro = "The pictures as the model sees them, and the classes that it and its experts predict."
    return render(
        title=f"{model}: morex predictions",
        heading=model,
        subject=plural(len(predictions), "picture"),
        result=_result(predictions),
        missing=(),
        sections=[Section("pictures", "Pictures", intro, part="predictions.html", content=content)],
    )


def _result(predictions: Sequence[Prediction]) -> str:
    said = (
        f"{Path(p.source).name} is {word_of(p.classes[0][0])} ({percent(p.classes[0][1])})"
        for p in predictions[:3]
    )
    more = len(predictions) - 3
    return ", ".join(said) + (f", and {more} more." if more > 0 else ".")
