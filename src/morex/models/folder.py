"""The folder of a saved model: its description, ``model.json``, and weights, ``model.safetensors``.

Nothing is unpickled. Floating-point weights may be stored with lower precision; loaded models are
float32. A mixture may share weights with networks in neighbouring folders. Everything about a
folder may be a stranger's: nothing larger than its files is allocated, and code that it names runs
only as ``core/trust.py`` says.
"""

import hashlib
import json
import os
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from morex.artifacts.model_description import ModelDescription
from morex.artifacts.schema import problems
from morex.core.file_errors import reason
from morex.core.files import digest_of_all, read_file
from morex.core.precision import default_settings
from morex.core.strict_json import parse_json
from morex.core.trust import UntrustedCodeError, code_named, is_signed
from morex.models.errors import ModelError
from morex.models.external import ForeignModelError
from morex.models.kinds import build
from morex.models.missing import near_model, shipped_names
from morex.models.networks import NETWORKS
from morex.models.tied import tie
from morex.models.timm_network import TimmError

DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"
_FEWEST_TENSORS = 20
"""No network of morex has fewer tensors."""

_AGAIN = "save or train the model again"


@dataclass(frozen=True)
class ModelFolder:
    """A saved model: its description, and the place of its weights.

    Attributes:
        path: the folder.
        content: what ``model.json`` holds.
        description: the same, checked.
    """

    path: Path
    content: Mapping[str, Any]
    description: ModelDescription

    @classmethod
    def open(cls, path: Path) -> "ModelFolder":
        """Read the ``model.json`` of a folder.

        Raises:
            ModelError: if the folder holds no model, or its description is damaged.
        """
        content = _read_description(path)
        try:
            return cls(path, content, ModelDescription.model_validate(content))
        except ValidationError as error:
            where = path / DESCRIPTION
            raise ModelError(f"{where} is damaged ({problems(error)}); {_AGAIN}") from None

    @property
    def about(self) -> dict[str, Any]:
        """What was saved beside the model."""
        about: dict[str, Any] = self.content["about"]
        return about

    @property
    def digest(self) -> str:
        """The checksum of all weights, including those that it shares."""
        sources = [source.weights_sha256 for source in self.description.shared.values()]
        return digest_of_all([self.description.weights_sha256, *sources])

    @property
    def form(self) -> str:
        """The checksum of what the model computes with its weights, but for the code it names."""
        form = json.dumps(_without_factories(self.content["model"]), sort_keys=True)
        return hashlib.sha256(form.encode()).hexdigest()

    @property
    def code(self) -> tuple[str, ...]:
        """The factories that make parts of the model."""
        return code_named(self.content["model"])

    @property
    def is_ours(self) -> bool:
        """Whether this user's morex wrote the description, and the code that it names is here."""
        text = text_to_sign(self.content)
        return is_signed(text, code_named(self.content), self.description.signature)

    @property
    def dtype(self) -> torch.dtype:
        """The widest type of its floating-point weights.

        Raises:
            ModelError: if the file of the weights is missing or damaged.
        """
        types = {t.dtype for t in self._all_weights().values() if t.is_floating_point()}
        return max(types, key=lambda dtype: dtype.itemsize, default=torch.float32)

    def build(self, *, trust_code: bool) -> nn.Module:
        """Return the model with its weights, in evaluation mode on the CPU.

        Args:
            trust_code: whether factories that the description names may be imported and called.
                Otherwise they are only if the description ``is_ours``.

        Raises:
            ModelError: if a file is damaged.
            UntrustedCodeError: if a factory would have to be called.
        """
        code = self.code
        if code and not (trust_code or self.is_ours):
            raise UntrustedCodeError(self.path / DESCRIPTION, code)
        weights = self._all_weights()
        if not code:
            self._check_fits(weights)
        with default_settings(torch.device("cpu")):
            model = self._empty()
            try:
                model.load_state_dict(weights)
                tie(model, self.description.tied)
            except (RuntimeError, ModelError) as error:
                raise self._does_not_fit(str(error)) from None
            return model.eval()

    def weights(self) -> dict[str, Tensor]:
        """Return the weights in the folder itself, by name.

        Raises:
            ModelError: if the file is missing or damaged.
        """
        return _read_weights(self.path / WEIGHTS, self.description.weights_sha256)

    def _check_fits(self, weights: Mapping[str, Tensor]) -> None:
        """Raise unless the weights are those of the model; nothing of its size is allocated."""
        networks = _count(self.content["model"], NETWORKS)
        if networks * _FEWEST_TENSORS > len(weights):
            raise self._does_not_fit(f"{len(weights)} tensors for {networks} networks")
        try:
            with torch.device("meta"):
                expected = self._empty().state_dict()
        except (RuntimeError, OverflowError) as error:
            raise self._does_not_fit(str(error)) from None
        for name in sorted({*expected, *weights}):
            want, have = _form(expected.get(name)), _form(weights.get(name))
            if want != have:
                raise self._does_not_fit(f"{name}: expected {want}, got {have}")

    def _does_not_fit(self, problem: str) -> ModelError:
        return ModelError(f"{self.path / WEIGHTS} does not fit its {DESCRIPTION}: {problem}")

    def _empty(self) -> nn.Module:
        try:
            return build(self.content["model"])
        except TimmError as error:
            raise ModelError(f"{self.path}: {error}") from error
        except ForeignModelError as error:
            raise ModelError(
                f"{self.path}: a classifier that morex did not make cannot be loaded: {error}"
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            path = self.path / DESCRIPTION
            raise ModelError(f"{path} is damaged ({error!r}); {_AGAIN}") from None

    def _all_weights(self) -> dict[str, Tensor]:
        weights = self.weights()
        for prefix, source in self.description.shared.items():
            theirs = _read_shared(self.path.parent / source.folder, source.weights_sha256)
            weights = {prefix + name: t for name, t in theirs.items()} | weights
        tied = self.description.tied
        return weights | {name: weights[first] for name, first in tied.items() if first in weights}


def text_to_sign(content: Mapping[str, Any]) -> str:
    """Return what the signature of a description covers: all of it but the signature itself."""
    return json.dumps({k: v for k, v in content.items() if k != "signature"}, sort_keys=True)


def _without_factories(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _without_factories(v) for k, v in content.items() if k != "factory"}
    return [_without_factories(v) for v in content] if isinstance(content, list) else content


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        near = near_model(folder)
        if folder.suffix == ".py":
            near = f"a classifier in a Python file is named by its function, {folder}:FUNCTION; "
        raise ModelError(
            f"no model in {os.fspath(folder)!r}: {near}expected a folder with {DESCRIPTION} and "
            f"{WEIGHTS}{_or_shipped()}"
        )
    try:
        description: dict[str, Any] = parse_json(read_file(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}") from None
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); {_AGAIN}") from None
    if not isinstance(description, dict):
        raise ModelError(f"{path} is damaged (not a description of a model); {_AGAIN}")
    if description.get("format", 1) != 1:
        raise ModelError(
            f"{path} has format {description['format']!r}, but this version of morex reads format 1"
        )
    return description


def _count(form: object, kinds: Container[str]) -> int:
    """Return how many parts of a form are of one of the kinds."""
    found, left = 0, [form]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            kind = part.get("kind")
            found += isinstance(kind, str) and kind in kinds
            left.extend(part.values())
    return found


def _form(weights: Tensor | None) -> str:
    """Return the shape of a tensor, and what kind of numbers it holds."""
    if weights is None:
        return "nothing"
    kind = "floats" if weights.is_floating_point() else str(weights.dtype)
    return f"{kind} of shape {tuple(weights.shape)}"


def _or_shipped() -> str:
    names = shipped_names()
    return f", or a shipped model: {', '.join(names)}" if names else ""


def _read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    try:
        content = read_file(path)
        weights: dict[str, Tensor] = load(content)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}") from None
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or does not fit its {DESCRIPTION}: {error}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(
            f"{path} is damaged or does not fit its {DESCRIPTION}: wrong checksum; {_AGAIN}"
        )
    return weights


def _read_shared(folder: Path, digest: str) -> dict[str, Tensor]:
    """Return the weights of a neighbouring network."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path} is missing, and this model shares its weights; copy it as well")
    return _read_weights(path, digest)
