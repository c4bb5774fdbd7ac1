"""The description of a saved model, ``model.json``."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from morex.artifacts.schema import FolderName, Schema

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=1, le=2**16)]


class SharedWeights(Schema):
    """Weights that a mixture has in common with a network in a neighbouring folder.

    Attributes:
        folder: the name of that folder.
        weights_sha256: the checksum of its file of weights.
    """

    folder: FolderName
    weights_sha256: Sha256


class About(Schema):
    """What is saved beside a model. Callers of ``morex.save`` may add keys of their own.

    Attributes:
        name: what the model is called in tables.
        classes: the names of its classes, in the order of its logits.
        image_size: the height and width of the images that it was trained on.
        recipe: how it is evaluated, as keys of a recipe.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    name: str | None = None
    classes: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    image_size: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    recipe: dict[str, Any] | None = None


class ModelDescription(Schema):
    """What ``model.json`` holds.

    Attributes:
        format: the version of the format.
        model: the form of the model, which its kind reads.
        about: what was saved beside it.
        weights_sha256: the checksum of ``model.safetensors``.
        shared: which weights are in neighbouring folders, by the prefix of their names.
        tied: tensors that are another one under a second name: the second name and the first.
        signature: shows that this user's morex wrote it here, if it names code.
    """

    format: Literal[1]
    model: dict[str, Any]
    about: About
    weights_sha256: Sha256
    shared: dict[str, SharedWeights] = Field(default_factory=dict)
    tied: dict[str, str] = Field(default_factory=dict)
    signature: str | None = None
