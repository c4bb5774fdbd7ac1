"""Illustrations: a model's behaviour on a few test images, kept for the report page.

An illustration has three parts: the predictions under every quick attack, the accuracy against the
strength of each perturbation, and a few pictures with everything that an attack changes in them.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from morex.artifacts.outcomes import REDO
from morex.artifacts.statistics import BoolArray
from morex.core.files import check_unpacked_size, read_file, write_atomically

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Curve:
    """Which of n images a model gets right at several strengths of a perturbation.

    Attributes:
        factors: multiples of the strength, (k,).
        right: whether the model is right, (k, n).
    """

    factors: Array
    right: BoolArray


@dataclass(frozen=True, eq=False)
class Pictures:
    """P test images under R attacks, and the predictions for them.

    Attributes:
        index: positions among the run's test images, (P,).
        labels: true classes, (P,).
        rows: names of the attacks, (R,); the first one leaves the image as it is.
        moved: the attacked images in [0, 1], float16, (R, P, C, H, W).
        said: classes that the model predicts, (R, P); ``NOT_FINITE`` where its answer has none.
        confidence: probabilities of those classes, (R, P).
        experts: names of the experts, (M,); none for a single network.
        experts_say: classes that the experts predict, (R, P, M), or ``NOT_FINITE``.
        weights: the gate's weights, (R, P, M); (R, P, 0) if there is no gate.
    """

    index: Array
    labels: Array
    rows: Array
    moved: Array
    said: Array
    confidence: Array
    experts: Array
    experts_say: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class Illustration:
    """The illustration of one model.

    Attributes:
        labels: true classes of the first test images, (n,).
        answers: for each row of the suite, the classes that the model predicts, (n,), or
            ``NOT_FINITE``.
        curves: curves by perturbation.
        pictures: None for models without a gallery.
    """

    labels: Array
    answers: Mapping[str, Array]
    curves: Mapping[str, Curve]
    pictures: Pictures | None = None

    def save(self, path: Path) -> None:
        """Write a compressed ``.npz``, whole or not at all; equal content gives equal bytes."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self._arrays())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())

    def _arrays(self) -> dict[str, Any]:
        curves = {
            f"{part}/{name}": getattr(curve, part)
            for name, curve in self.curves.items()
            for part in ("factors", "right")
        }
        pictures = {
            f"pictures/{field.name}": getattr(self.pictures, field.name)
            for field in fields(Pictures)
            if self.pictures
        }
        answers = {f"answers/{row}": said for row, said in self.answers.items()}
        return {"labels": self.labels, **answers, **curves, **pictures}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote; nothing is unpickled.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged or holds something else.
        """
        data = read_file(path)
        try:
            check_unpacked_size(data)
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return cls._of({name: archive[name] for name in archive.files})
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged bytes
            raise ValueError(f"{path}: not a readable illustration ({error}); {REDO}") from error

    @classmethod
    def _of(cls, arrays: dict[str, Array]) -> Self:
        parts: dict[str, dict[str, Array]] = {}
        for name, array in arrays.items():
            section, _, key = name.partition("/")
            parts.setdefault(section, {})[key] = array
        right = parts.get("right", {})
        return cls(
            labels=parts["labels"][""],
            answers=parts.get("answers", {}),
            curves={k: Curve(f, right[k]) for k, f in parts.get("factors", {}).items()},
            pictures=Pictures(**parts["pictures"]) if "pictures" in parts else None,
        )
