"""The folder of a saved model: its description, ``model.json``, and weights, ``model.safetensors``.

Nothing is unpickled. Floating-point weights may be stored with lower precision; loaded models are
float32. A mixture may share weights with networks in neighbouring folders. A foreign expert is made
by its factory (``package.module:factory``), which loading imports and calls: so a ``model.json``
can name code to run, and its module must be installed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from morex.artifacts.model_sets import shipped_sets
from morex.core.files import digest_of_all
from morex.models.errors import ModelError
from morex.models.external import ForeignModelError
from morex.models.kinds import UntrustedFactoryError, build

DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"
_KEYS = {"format", "model", "weights_sha256", "about"}
_AGAIN = "save or train the model again"


@dataclass(frozen=True)
class ModelFolder:
    """A saved model: its description, and the place of its weights.

    Attributes:
        path: the folder.
        description: the content of ``model.json``.
    """

    path: Path
    description: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> "ModelFolder":
        """Read the ``model.json`` of a folder.

        Raises:
            ModelError: if the folder holds no model, or its description is damaged.
        """
        return cls(path, _read_description(path))

    @property
    def about(self) -> dict[str, Any]:
        """What was saved beside the model."""
        about: dict[str, Any] = self.description["about"]
        return about

    @property
    def digest(self) -> str:
        """The checksum of all weights, including those that it shares."""
        sources = [source["weights_sha256"] for source in self._shared.values()]
        return digest_of_all([self.description["weights_sha256"], *sources])

    def build(self, *, trusted: bool) -> nn.Module:
        """Return the model with its weights, in evaluation mode on the CPU.

        Args:
            trusted: whether the factories that the description names may be imported and called.

        Raises:
            ModelError: if a file is damaged, or a factory would have to be called.
        """
        model = self._empty(trusted=trusted)
        try:
            model.load_state_dict(self._all_weights())
        except RuntimeError as error:
            raise ModelError(
                f"{self.path / WEIGHTS} does not fit its {DESCRIPTION}: {error}"
            ) from None
        return model.eval()

    def weights(self) -> dict[str, Tensor]:
        """Return the weights in the folder itself, by name.

        Raises:
            ModelError: if the file is missing or damaged.
        """
        return _read_weights(self.path / WEIGHTS, self.description["weights_sha256"])

    @property
    def _shared(self) -> Mapping[str, Mapping[str, str]]:
        shared: Mapping[str, Mapping[str, str]] = self.description.get("shared", {})
        return shared

    def _empty(self, *, trusted: bool) -> nn.Module:
        try:
            return build(self.description["model"], trusted=trusted)
        except UntrustedFactoryError as error:
            raise ModelError(
                f"a part of this model is made by {error}, which is not imported for models from "
                f"the hub; if you trust it, load {self.path}"
            ) from None
        except ForeignModelError as error:
            raise ModelError(
                f"{self.path}: a classifier that morex did not make cannot be loaded: {error}"
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            path = self.path / DESCRIPTION
            raise ModelError(f"{path} is damaged ({error!r}); {_AGAIN}") from None

    def _all_weights(self) -> dict[str, Tensor]:
        weights = self.weights()
        for prefix, source in self._shared.items():
            weights = _read_shared(self.path.parent, source, prefix) | weights
        return weights


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ModelError(
            f"no model in {os.fspath(folder)!r}: expected a folder with {DESCRIPTION} and {WEIGHTS}"
            + _or_shipped()
        )
    try:
        description: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); {_AGAIN}") from None
    if not isinstance(description, dict) or not description.keys() >= _KEYS:
        raise ModelError(f"{path} is damaged (not a description of a model); {_AGAIN}")
    if description["format"] != 1:
        raise ModelError(
            f"{path} has format {description['format']!r}, but this version of morex reads format 1"
        )
    return description


def _or_shipped() -> str:
    names = [f"{name}/{model}" for name, found in shipped_sets().items() for model in found.models]
    return f", or a shipped model: {', '.join(names)}" if names else ""


def _read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        weights: dict[str, Tensor] = load(content)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is damaged or does not fit its {DESCRIPTION}: {error}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(
            f"{path} is damaged or does not fit its {DESCRIPTION}: wrong checksum; {_AGAIN}"
        )
    return weights


def _read_shared(home: Path, source: Mapping[str, str], prefix: str) -> dict[str, Tensor]:
    """Return the weights of a neighbouring network, under their names in the mixture."""
    path = home / source["folder"] / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path} is missing, and this model shares its weights; copy it as well")
    theirs = _read_weights(path, source["weights_sha256"])
    return {prefix + name: t for name, t in theirs.items()}
