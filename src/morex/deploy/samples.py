"""Pictures to begin with in the playground."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from morex.artifacts.illustration import Illustration
from morex.artifacts.labels import FILE as TEST_IMAGES
from morex.artifacts.labels import TestImages
from morex.core.files import read_file
from morex.data import DataError
from morex.data.load import EMBEDDED, ENVIRONMENT, few_test_images
from morex.models.named import FromFolder
from morex.models.named_model import NamedModel
from morex.recipe import Recipe

MOST = 12
"""How many pictures are offered."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture: what it is called, its pixels, uint8 (3, H, W), and its class if that is known."""

    name: str
    pixels: Tensor
    label: int | None = None


def samples(
    model: NamedModel, recipe: Recipe | None, size: tuple[int, ...], environment: dict[str, str]
) -> list[Sample]:
    """Return pictures for a model.

    They are the illustrated test images of its run; otherwise the first test images of its data,
    if that is embedded or on this machine; otherwise drawings.

    Args:
        model: the model.
        recipe: its recipe, if it has one.
        size: the height and width of its images; empty if they are not known.
        environment: the environment variables.
    """
    found = [*_illustrated(model)]
    if not found and recipe is not None:
        found = [*_tested(recipe, environment)]
    fitting = [s for s in found if not size or tuple(s.pixels.shape[1:]) == size]
    return fitting[:MOST] or drawings(size or (64, 64))


def _illustrated(model: NamedModel) -> Iterator[Sample]:
    """Yield the test images of the gallery of a model's run; none if it has none, or a damaged one.

    A model that is not in a run has none.
    """
    if not isinstance(model, FromFolder):
        return
    run = model.folder.resolve().parent.parent
    with suppress(OSError, ValueError, IndexError):
        index = TestImages.model_validate_json(read_file(run / TEST_IMAGES)).index
        for path in sorted((run / "illustrations").glob("*.npz")):
            pictures = Illustration.load(path).pictures
            if pictures is None:
                continue
            for place, label, clean in zip(
                pictures.index.tolist(), pictures.labels.tolist(), pictures.moved[0], strict=True
            ):
                levels = np.rint(clean.astype(np.float32) * 255).astype(np.uint8)
                yield Sample(f"Test image {index[place]}", torch.from_numpy(levels), label)
            return


def _tested(recipe: Recipe, environment: dict[str, str]) -> Iterator[Sample]:
    """Yield the first test images of a recipe's data, if it is here: nothing is downloaded."""
    spec = recipe.data
    if spec.name != EMBEDDED and not spec.folder and not environment.get(ENVIRONMENT):
        return
    with suppress(DataError, OSError):
        rows, images = few_test_images(
            spec.name,
            MOST,
            Path(spec.folder) if spec.folder else None,
            image_size=spec.image_size,
            image_column=spec.image_column,
            label_column=spec.label_column,
        )
        for row, pixels, label in zip(rows, images.images, images.labels.tolist(), strict=True):
            yield Sample(f"Test image {row}", pixels, label)


def drawings(size: tuple[int, ...]) -> list[Sample]:
    """Return three simple drawings of a size, which are nothing that a model was trained on."""
    return [
        Sample(name, _drawn(shapes, size))
        for name, shapes in (
            ("Drawing of a ship", (_SKY, _SEA, _HULL, _SAIL)),
            ("Drawing of a truck", (_SKY, _ROAD, _BODY, _CABIN, _WHEEL, _WHEEL_IN_FRONT)),
            ("Drawing of an airplane", (_SKY, _FUSELAGE, _WING, _TAIL)),
        )
    ]


_Shape = tuple[str, str, tuple[tuple[int, int], ...]]

_SKY: _Shape = ("rectangle", "#9cc3e6", ((0, 0), (128, 128)))
_SEA: _Shape = ("rectangle", "#2f5f8a", ((0, 84), (128, 128)))
_HULL: _Shape = ("polygon", "#7a3b22", ((18, 76), (112, 76), (94, 100), (34, 100)))
_SAIL: _Shape = ("polygon", "#f4f1ea", ((62, 14), (62, 72), (100, 72)))
_ROAD: _Shape = ("rectangle", "#5c5f63", ((0, 92), (128, 128)))
_BODY: _Shape = ("rectangle", "#c23b2e", ((14, 38), (78, 92)))
_CABIN: _Shape = ("polygon", "#e5b53c", ((80, 56), (102, 56), (114, 74), (114, 92), (80, 92)))
_WHEEL: _Shape = ("ellipse", "#1e1f22", ((24, 82), (46, 104)))
_WHEEL_IN_FRONT: _Shape = ("ellipse", "#1e1f22", ((84, 82), (106, 104)))
_FUSELAGE: _Shape = ("ellipse", "#eef0f3", ((12, 54), (116, 76)))
_WING: _Shape = ("polygon", "#b9bfc8", ((52, 64), (74, 64), (52, 104), (36, 104)))
_TAIL: _Shape = ("polygon", "#b9bfc8", ((16, 60), (14, 34), (30, 34), (42, 58)))


def _drawn(shapes: tuple[_Shape, ...], size: tuple[int, ...]) -> Tensor:
    picture = Image.new("RGB", (128, 128))
    pencil = ImageDraw.Draw(picture)
    for kind, colour, points in shapes:
        getattr(pencil, kind)(points, fill=colour)
    height, width = size
    small = picture.resize((width, height), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)
